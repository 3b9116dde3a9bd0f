#include "src/registry/blob_downloads.h"

#include "src/base/net/sha256.h"
#include "tests/unit/capture_binding.h"
#include "tests/unit/http_server.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>

using namespace cleanroom;
using namespace cleanroom::registry;
using namespace cleanroom::testing;

namespace {

std::string bytes_of(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  std::uint32_t state = seed * 2654435761u + 1;
  for (char& c : text) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

struct Asked {
  std::size_t from = 0;
  std::size_t end = 0;
  bool ranged = false;
  bool first = true;  // nobody asked for this before
  const std::string& blob;
  std::string part() const { return blob.substr(from, end - from); }
};

std::string partial(const Asked& asked, const std::string& part, std::size_t announced) {
  return "HTTP/1.1 206 Partial Content\r\nContent-Length: " + std::to_string(announced) + "\r\nContent-Range: bytes " +
         std::to_string(asked.from) + "-" + std::to_string(asked.end - 1) + "/" + std::to_string(asked.blob.size()) +
         "\r\n\r\n" + part;
}
std::string honest(const Asked& asked) {
  return asked.ranged ? partial(asked, asked.part(), asked.end - asked.from) : http_answer(200, asked.blob);
}

using Behaviour = std::function<bool(const Asked&, const HttpPeer&)>;

// A registry with blobs, whose answers are the test's.
struct Rig {
  std::vector<std::string> blobs;
  Behaviour behaviour;
  std::mutex mutex;
  std::map<std::string, int> seen;
  std::stop_source stop;
  HttpServer server{[this](const HttpAsked& asked, const HttpPeer& peer) { return handle(asked, peer); }};
  RegistrySession session{{.registry = server.authority(), .base_url = server.url(), .insecure = true},
                          "acme/web",
                          nullptr,
                          stop.get_token()};

  Rig(std::vector<std::string> contents, Behaviour how) : blobs(std::move(contents)), behaviour(std::move(how)) {}

  bool handle(const HttpAsked& asked, const HttpPeer& peer) {
    const std::string range = asked.header("range");
    for (const std::string& blob : blobs) {
      if (asked.target != "/v2/acme/web/blobs/sha256:" + base::sha256_hex(blob)) continue;
      Asked wanted{.from = 0, .end = blob.size(), .ranged = !range.empty(), .blob = blob};
      if (wanted.ranged) {
        std::size_t last = 0;
        if (std::sscanf(range.c_str(), "bytes=%zu-%zu", &wanted.from, &last) != 2)
          return false;  // NOLINT(cert-err34-c)
        wanted.end = last + 1;
      }
      {
        const std::lock_guard lock(mutex);
        wanted.first = seen[asked.target + range]++ == 0;
      }
      return behaviour(wanted, peer);
    }
    return peer.send(http_answer(404));
  }
  std::vector<BlobRequest> requests() const {
    std::vector<BlobRequest> all;
    for (const std::string& blob : blobs)
      all.push_back({digest(blob), blob.size()});
    return all;
  }
  static model::Digest digest(const std::string& blob) {
    return model::Digest::from_sha256_hex(base::sha256_hex(blob));
  }
};

base::Result<std::string> read_all(image::FileReader& reader, std::size_t step = 777) {
  std::string text;
  std::vector<std::byte> part(step);
  for (;;) {
    CR_ASSIGN(const std::size_t n, reader.read(part));
    if (n == 0) return text;
    text.append(reinterpret_cast<const char*>(part.data()), n);
  }
}

BlobDownloads::Options tiny(unsigned parallel) {
  return {.parallel = parallel, .chunk_bytes = 1024, .window_bytes = 4096, .received = {}};
}

std::vector<std::string> contents() {
  return {bytes_of(1, 1),    bytes_of(10'000, 2), std::string(),
          bytes_of(1024, 3), bytes_of(33'333, 4), bytes_of(1536, 5)};
}

// Reads all blobs in order; what any of them fails with.
base::Result<void> read_in_order(Rig& rig, const BlobDownloads::Options& options) {
  BlobDownloads downloads(rig.session, rig.requests(), options);
  for (const std::string& blob : rig.blobs) {
    const auto reader = downloads.open(Rig::digest(blob));
    REQUIRE(reader != nullptr);
    CHECK(reader->size() == blob.size());
    CR_ASSIGN(const std::string text, read_all(*reader));
    CHECK((text == blob));
  }
  return {};
}

template <class T>
std::string verdict(const base::Result<T>& result) {
  return result ? "ok" : result.error().reason;
}

}  // namespace

TEST_SUITE("registry/blob_downloads") {
  TEST_CASE("blobs are read in order, byte for byte, whatever the number of connections and however they are served") {
    std::atomic<unsigned> count{0};
    const std::pair<const char*, Behaviour> ways[] = {
        {"ranges", [](const Asked& asked, const HttpPeer& peer) { return peer.send(honest(asked)); }},
        {"no ranges", [](const Asked& asked, const HttpPeer& peer) { return peer.send(http_answer(200, asked.blob)); }},
        {"now and then no ranges",
         [&count](const Asked& asked, const HttpPeer& peer) {
           return peer.send(++count % 3 == 0 ? http_answer(200, asked.blob) : honest(asked));
         }},
        {"a connection for each answer",
         [](const Asked& asked, const HttpPeer& peer) { return peer.send(honest(asked)) && false; }},
    };
    for (const auto& [name, behaviour] : ways) {
      for (unsigned parallel = 1; parallel <= 8; ++parallel) {
        CAPTURE_BINDING(name);
        CAPTURE(parallel);
        Rig rig(contents(), behaviour);
        CHECK(verdict(read_in_order(rig, tiny(parallel))) == "ok");
      }
    }
  }

  TEST_CASE("a window smaller than a chunk, and chunks of a byte, make progress") {
    const Behaviour ranges = [](const Asked& asked, const HttpPeer& peer) { return peer.send(honest(asked)); };
    Rig small({bytes_of(300, 1), bytes_of(5, 2)}, ranges);
    CHECK(verdict(read_in_order(small, {.parallel = 3, .chunk_bytes = 1, .window_bytes = 1, .received = {}})) == "ok");
    Rig large({bytes_of(5000, 1)}, ranges);
    CHECK(verdict(read_in_order(large, {.parallel = 3, .chunk_bytes = 1000, .window_bytes = 10, .received = {}})) ==
          "ok");
  }

  TEST_CASE("answers that are cut short go on where they broke off") {
    SUBCASE("with their end announced") {
      Rig rig({bytes_of(5000, 1), bytes_of(3000, 2)}, [](const Asked& asked, const HttpPeer& peer) {
        if (!asked.first || asked.from % 2048 != 0) return peer.send(honest(asked));
        const std::string half = asked.part().substr(0, (asked.end - asked.from) / 2);
        return peer.send(asked.ranged ? partial(asked, half, half.size()) : http_answer(200, half));
      });
      CHECK(verdict(read_in_order(rig, tiny(4))) == "ok");
    }
    SUBCASE("by a connection that ends, or is reset") {
      std::atomic<unsigned> count{0};
      Rig rig({bytes_of(5000, 1), bytes_of(3000, 2)}, [&](const Asked& asked, const HttpPeer& peer) {
        if (!asked.first || asked.from % 2048 != 0) return peer.send(honest(asked));
        if (++count % 2 == 0) peer.reset_at_close();
        const std::string answer = honest(asked);
        return peer.send(answer.substr(0, answer.size() - 300)) && false;
      });
      CHECK(verdict(read_in_order(rig, tiny(4))) == "ok");
    }
    SUBCASE("of a registry without ranges") {
      std::atomic<unsigned> count{0};
      Rig rig({bytes_of(20'000, 1)}, [&](const Asked& asked, const HttpPeer& peer) {
        const std::string answer = http_answer(200, asked.blob);
        return ++count < 3 ? peer.send(answer.substr(0, answer.size() - 7000)) && false : peer.send(answer);
      });
      CHECK(verdict(read_in_order(rig, tiny(3))) == "ok");
    }
    SUBCASE("of a registry that is busy at first") {
      Rig rig({bytes_of(3000, 1)}, [](const Asked& asked, const HttpPeer& peer) {
        return peer.send(asked.first ? http_answer(asked.from == 0 ? 503 : 429, "busy") : honest(asked));
      });
      CHECK(verdict(read_in_order(rig, tiny(3))) == "ok");
    }
  }

  TEST_CASE("answers that are not what was asked for are not taken") {
    SUBCASE("another range") {
      Rig rig({bytes_of(3000, 1)}, [](const Asked& asked, const HttpPeer& peer) {
        Asked other = asked;
        if (other.ranged && other.from > 0) --other.from, --other.end;
        return peer.send(honest(other));
      });
      CHECK(verdict(read_in_order(rig, tiny(2))) == "image_pull_failed");
    }
    SUBCASE("no blob there") {
      Rig rig({bytes_of(3000, 1)}, [](const Asked&, const HttpPeer& peer) { return peer.send(http_answer(404)); });
      CHECK(verdict(read_in_order(rig, tiny(2))) == "image_not_found");
    }
    SUBCASE("no leave") {
      Rig rig({bytes_of(3000, 1)}, [](const Asked&, const HttpPeer& peer) { return peer.send(http_answer(403)); });
      CHECK(verdict(read_in_order(rig, tiny(2))) == "image_access_denied");
    }
    SUBCASE("more than the descriptor says") {
      Rig rig({bytes_of(3000, 1)}, [](const Asked& asked, const HttpPeer& peer) {
        return peer.send(http_answer(200, asked.blob + "more"));
      });
      CHECK(verdict(read_in_order(rig, tiny(2))) == "image_invalid");
    }
  }

  TEST_CASE("two blobs are read side by side; each is opened once") {
    Rig rig({bytes_of(20'000, 1), bytes_of(20'000, 2)},
            [](const Asked& asked, const HttpPeer& peer) { return peer.send(honest(asked)); });
    BlobDownloads downloads(rig.session, rig.requests(), tiny(4));
    std::vector<std::string> texts(2);
    std::vector<std::thread> readers;
    for (std::size_t i = 0; i < 2; ++i) {
      readers.emplace_back([&, i] {
        const auto reader = downloads.open(Rig::digest(rig.blobs[i]));
        if (reader) texts[i] = read_all(*reader, 100 + i).value();
      });
    }
    for (auto& reader : readers)
      reader.join();
    CHECK((texts == rig.blobs));
    CHECK(downloads.open(Rig::digest(rig.blobs[0])) == nullptr);
    CHECK(downloads.open(Rig::digest("no such blob")) == nullptr);
  }

  TEST_CASE("the same blob twice is fetched twice") {
    const std::string blob = bytes_of(5000, 1);
    Rig rig({blob, blob}, [](const Asked& asked, const HttpPeer& peer) { return peer.send(honest(asked)); });
    CHECK(verdict(read_in_order(rig, tiny(4))) == "ok");
  }

  TEST_CASE("no more than the window is fetched ahead of the reader") {
    for (const bool ranges : {true, false}) {
      CAPTURE(ranges);
      Rig rig({bytes_of(6u << 20, 1), bytes_of(3u << 20, 2)}, [ranges](const Asked& asked, const HttpPeer& peer) {
        return peer.send(ranges ? honest(asked) : http_answer(200, asked.blob));
      });
      constexpr std::uint64_t kWindow = 1u << 20;
      constexpr unsigned kParallel = 4;
      constexpr std::uint64_t kStep = 256u << 10;  // what libcurl hands over at once
      std::atomic<std::uint64_t> received{0};
      std::uint64_t read = 0;
      std::uint64_t most_ahead = 0;
      BlobDownloads downloads(
          rig.session, rig.requests(),
          {.parallel = kParallel, .chunk_bytes = 128u << 10, .window_bytes = kWindow, .received = [&](std::uint64_t n) {
             received += n;
           }});
      for (const std::string& blob : rig.blobs) {
        const auto reader = downloads.open(Rig::digest(blob));
        std::vector<std::byte> part(50'000);
        for (std::uint64_t of_blob = 0; of_blob < blob.size();) {
          const auto n = reader->read(part);
          REQUIRE(n.has_value());
          REQUIRE(std::memcmp(part.data(), blob.data() + of_blob, *n) == 0);
          of_blob += *n;
          read += *n;
          const std::uint64_t now = received;
          most_ahead = std::max(most_ahead, now > read ? now - read : 0);
        }
      }
      CHECK(most_ahead <= kWindow + (kParallel + 1) * kStep);
    }
  }

  TEST_CASE("reads that wait end when the reader is aborted, the pull is stopped, or the downloads go") {
    Rig rig({bytes_of(50'000, 1)}, [](const Asked& asked, const HttpPeer& peer) {
      if (asked.from == 0) peer.send(honest(asked).substr(0, 700));
      peer.wait_until_gone();
      return false;
    });
    const auto begin = base::SteadyClock::now();
    SUBCASE("aborted") {
      BlobDownloads downloads(rig.session, rig.requests(), tiny(3));
      const auto reader = downloads.open(Rig::digest(rig.blobs[0]));
      std::thread other([&] {
        rig.server.wait_for_asked(3);
        reader->abort();
      });
      CHECK(verdict(read_all(*reader)) == "cancelled");
      CHECK(verdict(read_all(*reader)) == "cancelled");
      other.join();
    }
    SUBCASE("stopped") {
      BlobDownloads downloads(rig.session, rig.requests(), tiny(3));
      const auto reader = downloads.open(Rig::digest(rig.blobs[0]));
      std::thread other([&] {
        rig.server.wait_for_asked(3);
        rig.stop.request_stop();
      });
      CHECK(verdict(read_all(*reader)) == "cancelled");
      other.join();
    }
    SUBCASE("stopped before they begin") {
      rig.stop.request_stop();
      CHECK(verdict(read_in_order(rig, tiny(3))) == "cancelled");
    }
    SUBCASE("gone in the middle") {
      BlobDownloads downloads(rig.session, rig.requests(), tiny(3));
      rig.server.wait_for_asked(3);
    }
    // A stall alone ends after thirty seconds.
    CHECK(base::SteadyClock::now() - begin < std::chrono::seconds(20));
  }

  TEST_CASE("downloads may go at any time, with all that they are doing") {
    Rig rig({bytes_of(200'000, 1), bytes_of(50'000, 2)},
            [](const Asked& asked, const HttpPeer& peer) { return peer.send(honest(asked)); });
    for (std::size_t steps = 0; steps < 60; ++steps) {
      BlobDownloads downloads(rig.session, rig.requests(), tiny(1 + steps % 8));
      const auto reader = downloads.open(Rig::digest(rig.blobs[0]));
      std::vector<std::byte> part(64);
      for (std::size_t i = 0; i < steps; ++i)
        REQUIRE(reader->read(part).has_value());
    }
  }

  TEST_CASE("nothing to fetch is fetched at once") {
    Rig rig({std::string()}, [](const Asked&, const HttpPeer&) { return false; });
    CHECK(verdict(read_in_order(rig, tiny(4))) == "ok");
    CHECK(rig.server.asked().empty());
    BlobDownloads none(rig.session, {}, tiny(4));
    CHECK(none.open(Rig::digest("x")) == nullptr);
  }
}
