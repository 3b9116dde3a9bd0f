// Builds that are killed or fail, several processes at one image, removal and collection.
#include "src/base/os/atomic_file.h"
#include "src/base/os/clock.h"
#include "src/image/image_names.h"
#include "src/image/image_store.h"
#include "src/image/layer_checkpoints.h"
#include "tests/unit/image/ext4_reader.h"
#include "tests/unit/image/memory_files.h"

#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <thread>

using namespace cleanroom;
using namespace cleanroom::image;
using namespace cleanroom::image::testing;

namespace {

using Entries = std::vector<TarEntry>;
namespace fs = std::filesystem;

struct Place {
  base::TempDir directory = temp_dir();
  ImageStore store{directory.path()};

  std::vector<std::string> names(std::string_view prefix) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory.path())) {
      const std::string name = entry.path().filename().native();
      if (name.starts_with(prefix)) found.push_back(name);
    }
    return found;
  }
  StoredImage build(const std::vector<Entries>& layers) const {
    auto layout = layout_of(layers);
    MemoryBlobs blobs;
    auto image = store.build(source_of(layout, blobs), "test");
    INFO(failure_of(image));
    REQUIRE(image.has_value());
    return std::move(*image);
  }
  model::Digest build_unused(const std::vector<Entries>& layers) const { return build(layers).digest; }
  void set_used(const model::Digest& digest, std::chrono::system_clock::time_point last) const {
    const auto when = last.time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(when);
    const timespec time{seconds.count(), (when - seconds).count()};
    const timespec times[2] = {time, time};
    REQUIRE(::utimensat(AT_FDCWD, (directory.path() / digest.hex() / "image.json").c_str(), times, 0) == 0);
  }
};

// A process that runs `body` and ends; its own end at the latest after two minutes.
template <class Body>
pid_t child(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::alarm(120);
    body();
    ::_exit(0);
  }
  REQUIRE(pid > 0);
  return pid;
}
int status_of(pid_t pid) {
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  return status;
}
bool was_killed(int status) {
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

void give(const base::Fd& fd) {
  static_cast<void>(base::write_all(fd, std::string_view("x")));
}
void take(const base::Fd& fd) {
  std::byte byte{};
  static_cast<void>(base::read_some(fd, std::span(&byte, 1)));
}

std::size_t layers_opened(const LayoutMaker& layout, const MemoryBlobs& blobs) {
  std::size_t count = 0;
  for (const std::string& name : blobs.opened()) {
    for (const auto& layer : layout.layers)
      count += name == blob_file(layer) ? 1 : 0;
  }
  return count;
}

std::string large_text(char salt) {
  std::string text;
  const std::string part = salt + noise(1 << 16, static_cast<unsigned>(salt));
  while (text.size() < (65u << 20))
    text += part;
  return text;
}

}  // namespace

TEST_SUITE("image/life") {
  TEST_CASE("FLT-01 a build that is killed leaves no image, and the next one finishes it") {
    const std::vector<Entries> layers{{{.name = "a", .content = noise(200'000, 1)}},
                                      {{.name = "b", .content = noise(200'000, 2)}},
                                      {{.name = "c", .content = noise(1000, 3)}}};
    const Place alone;
    const std::string expected = base::read_file(alone.build(layers).rootfs, 64 << 20).value();
    for (const std::uint64_t after : {0u, 1u, 70'001u, 140'002u, 201'000u}) {
      for (std::size_t victim = 0; victim < layers.size(); ++victim) {
        CAPTURE(after);
        CAPTURE(victim);
        const Place place;
        auto layout = layout_of(layers);
        const std::string file = blob_file(layout.layers[victim]);
        const bool reached = after == 0 || after < layout.layers[victim].tar.size();
        if (!reached) continue;
        const int status = status_of(child([&] {
          MemoryBlobs blobs;
          blobs.before_read = [&](const std::string& name, std::uint64_t offset) {
            if (name == file && offset >= after) ::raise(SIGKILL);
          };
          static_cast<void>(place.store.build(source_of(layout, blobs), "test"));
        }));
        REQUIRE(was_killed(status));
        const auto digest = model::Digest::parse(layout.manifest_digest()).value();
        CHECK(place.store.find(digest).error().reason == "image_not_found");
        CHECK(place.store.list().value().empty());
        CHECK(place.names(".build-").size() == 1);
        CHECK(base::read_file(place.build(layers).rootfs, 64 << 20).value() == expected);
        CHECK(place.names(".build-").empty());
        CHECK(place.names("").size() == 1);
      }
    }
  }

  TEST_CASE("a build takes over the finished layers of one that was killed") {
    const Place place;
    LayoutMaker layout;
    MemoryBlobs blobs;
    std::string hashes[2];
    for (const char name : {'a', 'b'}) {
      const std::string text = large_text(name);
      hashes[name - 'a'] = base::sha256_hex(text);
      layout.layers.push_back({.tar = tar_of({{.name = std::string(1, name), .content = text}})});
    }
    layout.layers.push_back({.tar = tar_of({{.name = "c", .content = "c"}})});
    const auto source = source_of(layout, blobs);
    const std::string last = blob_file(layout.layers[2]);
    const auto finished = [&] {
      std::error_code error;
      for (const auto& build : fs::directory_iterator(place.directory.path(), error)) {
        for (const auto& file : fs::directory_iterator(build.path() / "layers", error))
          if (file.path().extension() == ".layer") return true;
      }
      return false;
    };
    const int status = status_of(child([&] {
      blobs.before_read = [&](const std::string& name, std::uint64_t) {
        while (name == last) {
          if (finished()) ::raise(SIGKILL);
          ::poll(nullptr, 0, 5);
        }
      };
      static_cast<void>(place.store.build(source, "test"));
    }));
    REQUIRE(was_killed(status));
    REQUIRE(finished());
    SUBCASE("the layer is not read again") {
      const auto image = place.store.build(source, "test");
      REQUIRE_MESSAGE(image.has_value(), failure_of(image));
      const auto opened = blobs.opened();
      CHECK(std::find(opened.begin(), opened.end(), blob_file(layout.layers[0])) == opened.end());
      CHECK(std::find(opened.begin(), opened.end(), last) != opened.end());
      check_clean(image->rootfs);
      const auto entries = read_ext4(image->rootfs);
      CHECK(entries.at("a").content_sha256 == hashes[0]);
      CHECK(entries.at("b").content_sha256 == hashes[1]);
      CHECK(place.names(".build-").empty());
    }
    SUBCASE("what fails on the way, but may go well another time, keeps them too") {
      blobs.files.erase(last);
      struct Unreachable final : FileSet {
        explicit Unreachable(const FileSet& files) : files_(files) {}
        base::Result<std::unique_ptr<FileReader>> open(const std::string& name) const override {
          auto file = files_.open(name);
          return file ? std::move(file) : base::fail(base::Code::unavailable, "image_pull_failed", "gone");
        }
        const FileSet& files_;
      };
      const auto broken = ImageSource::from_manifest(
          std::make_unique<Unreachable>(source.files()),
          {"application/vnd.oci.image.manifest.v1+json", source.digest(), layout.manifest.size(), "", ""}, {});
      CHECK(place.store.build(broken, "test").error().reason == "image_pull_failed");
      blobs.files[last] = layout.layers[2].blob;
      REQUIRE(place.store.build(source, "test").has_value());
      const auto opened = blobs.opened();
      CHECK(std::count(opened.begin(), opened.end(), blob_file(layout.layers[0])) == 0);
    }
  }

  TEST_CASE("IMG-14 a build that fails for what it read leaves nothing") {
    for (std::size_t victim = 0; victim < 3; ++victim) {
      const Place place;
      auto layout = layout_of({{{.name = "a", .content = noise(90'000)}}, {{.name = "b"}}, {{.name = "c"}}});
      MemoryBlobs blobs;
      const auto source = source_of(layout, blobs);
      blobs.files[blob_file(layout.layers[victim])].back() ^= 1;
      CHECK(place.store.build(source, "test").error().reason == "image_invalid");
      CHECK(place.names("").empty());
    }
  }

  TEST_CASE("FLT-13 two processes that want one image build it once") {
    const Place place;
    auto layout = layout_of({{{.name = "a", .content = noise(90'000)}}, {{.name = "b"}}});
    MemoryBlobs blobs;
    const auto source = source_of(layout, blobs);
    auto begun = base::make_pipe().value();
    auto go = base::make_pipe().value();
    auto second_begun = base::make_pipe().value();
    const pid_t first = child([&] {
      std::atomic<bool> once{false};
      blobs.before_read = [&](const std::string& name, std::uint64_t) {
        if (name != blob_file(layout.layers[0]) || once.exchange(true)) return;
        give(begun.write);
        take(go.read);
      };
      if (!place.store.build(source, "test")) ::_exit(1);
    });
    take(begun.read);
    CHECK(place.store.find(source.digest()).error().reason == "image_not_found");
    // One that gives up waiting leaves the other alone.
    {
      std::stop_source stop;
      base::Result<StoredImage> waited = base::fail(base::Code::internal, "not run");
      std::thread waiting([&] { waited = place.store.build(source, "test", stop.get_token()); });
      stop.request_stop();
      waiting.join();
      CHECK(waited.error().code == base::Code::cancelled);
    }
    const pid_t second = child([&] {
      give(second_begun.write);
      const auto image = place.store.build(source, "test");
      if (!image) ::_exit(1);
      ::_exit(layers_opened(layout, blobs) == 0 ? 0 : 2);
    });
    take(second_begun.read);
    // A build under way is not swept.
    CHECK(place.store.collect({}).value().leftovers == 0);
    CHECK(place.names(".build-").size() == 1);
    give(go.write);
    CHECK(status_of(first) == 0);
    CHECK(status_of(second) == 0);
    CHECK(place.store.find(source.digest()).has_value());
    CHECK(place.names(".build-").empty());
  }

  TEST_CASE("what a killed build put out of the way does not stop the next one") {
    const Place place;
    const auto digest = place.build_unused({{{.name = "a"}}});
    const auto hex = digest.hex();
    REQUIRE(base::make_private_directories(place.directory.path() / (".removed-" + hex + "-damaged") / "layers")
                .has_value());
    fs::remove(place.directory.path() / hex / "rootfs.ext4");
    CHECK(place.build({{{.name = "a"}}}).digest == digest);
    CHECK(place.names("").size() == 1);
  }

  TEST_CASE("what is in use stays; afterwards it goes with its names") {
    const Place place;
    auto image = std::make_optional(place.build({{{.name = "a"}}}));
    const auto digest = image->digest;
    const ImageNames names(place.directory.path());
    const auto reference = model::ImageReference::parse("registry.test/a:1").value();
    const auto index = model::Digest::from_sha256_hex(std::string(64, 'e'));
    REQUIRE(names.set_name(reference, digest, ImageNames::Origin::registry).has_value());
    REQUIRE(names.set_alias(index, digest).has_value());
    CHECK(place.store.find(index)->digest == digest);
    CHECK(place.store.find(reference)->digest == digest);
    CHECK(place.store.list()->at(0).names == std::vector<std::string>{"registry.test/a:1"});
    auto second_lease = place.store.find(digest)->lease;
    image.reset();
    CHECK(place.store.remove(digest).error().reason == "image_in_use");
    CHECK(place.store.find(digest).has_value());
    second_lease.reset();
    REQUIRE(place.store.remove(digest).has_value());
    CHECK(place.store.find(digest).error().reason == "image_not_found");
    CHECK(place.store.find(index).error().reason == "image_not_found");
    CHECK(place.store.find(reference).error().reason == "image_not_found");
    CHECK_FALSE(names.named(reference).has_value());
    CHECK_FALSE(names.alias(index).has_value());
    CHECK(place.store.remove(digest).error().reason == "image_not_found");
    CHECK(place.names(".removed-").empty());
  }

  TEST_CASE("FLT-13 who finds an image while another removes it has it whole or not at all") {
    const Place place;
    auto layout = layout_of({{{.name = "a", .content = "x"}}});
    MemoryBlobs blobs;
    const auto source = source_of(layout, blobs);
    std::atomic<bool> done{false};
    std::atomic<int> broken{0};
    std::vector<std::thread> finders;
    for (int i = 0; i < 2; ++i) {
      finders.emplace_back([&] {
        while (!done) {
          const auto image = place.store.find(source.digest());
          if (image && !fs::exists(image->rootfs)) ++broken;
          if (!image && image.error().reason != "image_not_found") ++broken;
        }
      });
    }
    for (int i = 0; i < 15; ++i) {
      CHECK(place.store.build(source, "test").has_value());
      const auto deadline = base::deadline_in(std::chrono::seconds(60));
      auto gone = place.store.remove(source.digest());
      while (!gone && gone.error().reason == "image_in_use" && base::time_left(deadline).count() > 0)
        gone = place.store.remove(source.digest());
      CHECK_MESSAGE(gone.has_value(), failure_of(gone));
    }
    done = true;
    for (auto& finder : finders)
      finder.join();
    CHECK(broken == 0);
    CHECK(place.names("").empty());
  }
}

TEST_SUITE("image/collect") {
  TEST_CASE("the least recently used images go until the rest is small enough") {
    const Place place;
    std::vector<model::Digest> digests;
    for (unsigned i = 0; i < 4; ++i) {
      digests.push_back(place.build_unused({{{.name = "f", .content = noise(1 << 20, i)}}}));
      place.set_used(digests.back(), std::chrono::system_clock::now() - std::chrono::hours(10 - i));
    }
    const auto images = place.store.list().value();
    std::uint64_t total = 0;
    for (const auto& image : images)
      total += image.disk_bytes;
    REQUIRE(total >= 4u << 20);
    REQUIRE(place.store.find(digests[0]).has_value());  // counts as a use
    const CollectOptions options{.max_bytes = total / 2 + 4096, .unused_for = {}, .dry_run = false};
    auto dry = options;
    dry.dry_run = true;
    for (const CollectOptions& asked : {dry, options}) {
      CHECK(place.store.list()->size() == 4);
      const auto report = place.store.collect(asked);
      REQUIRE_MESSAGE(report.has_value(), failure_of(report));
      REQUIRE(report->removed.size() == 2);
      CHECK(report->removed[0].digest == digests[1]);
      CHECK(report->removed[1].digest == digests[2]);
      CHECK(report->kept_bytes <= *options.max_bytes);
    }
    CHECK(place.store.list()->size() == 2);
    CHECK(place.store.find(digests[0]).has_value());
    CHECK(place.store.find(digests[3]).has_value());
  }

  TEST_CASE("what was not used for long goes; what is in use stays") {
    const Place place;
    const auto old = place.build_unused({{{.name = "a"}}});
    const auto recent = place.build_unused({{{.name = "b"}}});
    const auto used = place.build({{{.name = "c"}}});
    const auto now = std::chrono::system_clock::now();
    place.set_used(old, now - std::chrono::hours(49));
    place.set_used(recent, now - std::chrono::hours(47));
    place.set_used(used.digest, now - std::chrono::hours(1000));
    const CollectOptions options{.max_bytes = {}, .unused_for = std::chrono::hours(48), .dry_run = false};
    auto dry = options;
    dry.dry_run = true;
    for (const CollectOptions& asked : {dry, options}) {
      const auto report = place.store.collect(asked).value();
      REQUIRE(report.removed.size() == 1);
      CHECK(report.removed[0].digest == old);
    }
    CHECK(place.store.list()->size() == 2);
    CHECK(place.store.collect({.max_bytes = 0, .unused_for = {}, .dry_run = false})->removed.size() == 1);
    CHECK(place.store.list()->size() == 1);
    CHECK(place.store.find(used.digest).has_value());
    // No options, nothing to remove.
    CHECK(place.store.collect({})->removed.empty());
  }

  TEST_CASE("times of use count by less than a second") {
    const Place place;
    std::vector<model::Digest> digests{place.build_unused({{{.name = "a"}}}), place.build_unused({{{.name = "b"}}})};
    const auto second = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    for (const bool turned : {false, true}) {
      place.set_used(digests[turned ? 1 : 0], second + std::chrono::milliseconds(100));
      place.set_used(digests[turned ? 0 : 1], second + std::chrono::milliseconds(700));
      const auto report = place.store.collect({.max_bytes = 0, .unused_for = {}, .dry_run = true}).value();
      REQUIRE(report.removed.size() == 2);
      CHECK(report.removed[0].digest == digests[turned ? 1 : 0]);
    }
  }

  TEST_CASE("what killed builds and removals left goes, but for a digest that is being built") {
    const Place place;
    const std::string dead(64, 'd');
    const std::string busy(64, 'b');
    for (const std::string& name :
         {".build-" + dead + "-abc", ".removed-" + dead + "-12", ".build-" + busy + "-abc", ".removed-" + busy + "-12"})
      REQUIRE(base::make_private_directories(place.directory.path() / name / "layers").has_value());
    auto lock = std::make_optional(
        base::open_file(place.directory.path() / ("." + busy + ".lock"), O_RDWR | O_CREAT, 0600).value());
    REQUIRE(::flock(lock->get(), LOCK_EX) == 0);
    CHECK(place.store.collect({.max_bytes = {}, .unused_for = {}, .dry_run = true})->leftovers == 2);
    CHECK(place.names(".build-").size() + place.names(".removed-").size() == 4);
    CHECK(place.store.collect({})->leftovers == 2);
    CHECK(place.names(".build-" + dead).empty());
    CHECK(place.names(".removed-" + dead).empty());
    CHECK(place.names(".build-" + busy).size() == 1);
    lock.reset();
    CHECK(place.store.collect({})->leftovers == 2);
    CHECK(place.names("").empty());
  }

  TEST_CASE("one that asks whether an image is in use does not hide it from others") {
    const Place place;
    const auto digest = place.build_unused({{{.name = "a"}}});
    auto asking =
        std::make_optional(base::open_file(place.directory.path() / digest.hex() / "image.json", O_RDONLY).value());
    REQUIRE(::flock(asking->get(), LOCK_EX | LOCK_NB) == 0);
    base::Result<StoredImage> found = base::fail(base::Code::internal, "not run");
    std::atomic<bool> begun{false};
    std::thread finder([&] {
      begun = true;
      begun.notify_all();
      found = place.store.find(digest);
    });
    begun.wait(false);
    asking.reset();
    finder.join();
    CHECK_MESSAGE(found.has_value(), failure_of(found));
  }
}
