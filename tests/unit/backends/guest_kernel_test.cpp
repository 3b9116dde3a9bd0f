#include "src/backends/guest_kernel.h"

#include "src/backends/kernel/kernel_manifest.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/temp_dir.h"

#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>

#include <map>

using namespace cleanroom;
using namespace cleanroom::backends;

namespace {

struct KernelDirectory {
  base::TempDir root = base::TempDir::create("/tmp", "cleanroom-test-").value();
  std::filesystem::path version = root.path() / "kernels/6.1-test";

  KernelDirectory() {
    REQUIRE(base::make_private_directories(version / "modules").has_value());
    write(version / "vmlinuz", "kernel");
    write(version / "load-order", "virtio\nvirtio_blk\n");
    write(version / "modules/virtio.ko", "module one");
    write(version / "modules/virtio_blk.ko", "module two");
    write(root.path() / "agent", "the agent");
    std::filesystem::create_symlink("6.1-test", root.path() / "kernels/current");
  }
  static void write(const std::filesystem::path& path, std::string_view text) {
    REQUIRE(base::write_file_atomically(path, text).has_value());
  }
  std::filesystem::path agent() const { return root.path() / "agent"; }
  std::filesystem::path cache() const { return root.path() / "cache"; }
};

std::map<std::string, std::pair<unsigned, std::string>> members_of(const std::filesystem::path& cpio) {
  std::map<std::string, std::pair<unsigned, std::string>> members;
  archive* reader = archive_read_new();
  archive_read_support_format_cpio(reader);
  REQUIRE(archive_read_open_filename(reader, cpio.c_str(), 10240) == ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    std::string content(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
    archive_read_data(reader, content.data(), content.size());
    members[archive_entry_pathname(entry)] = {archive_entry_mode(entry), content};
  }
  archive_read_free(reader);
  return members;
}

}  // namespace

TEST_SUITE("backends/guest_kernel") {
  TEST_CASE("the current kernel and its modules are found, with the version in the record") {
    const KernelDirectory directory;
    const auto kernel = find_guest_kernel(std::nullopt, directory.root.path());
    REQUIRE(kernel.has_value());
    CHECK(kernel->version == "6.1-test");
    CHECK(kernel->module_directory == directory.version / "modules");
  }

  TEST_CASE("a built kernel boots its vmlinux, without modules, and finds its devices on the command line") {
    const KernelDirectory directory;
    const auto built = directory.root.path() / "kernels/built";
    REQUIRE(base::make_private_directories(built).has_value());
    KernelDirectory::write(built / "vmlinuz", "compressed");
    KernelDirectory::write(built / "vmlinux", "plain");
    KernelManifest manifest{.name = "built", .mmio_cmdline = true, .pvh = true};
    KernelDirectory::write(built / kManifestName, to_json_text(manifest));

    const auto debian = find_guest_kernel(directory.version / "vmlinuz", directory.root.path()).value();
    CHECK(debian.discovery == DeviceDiscovery::acpi);

    std::filesystem::remove(directory.root.path() / "kernels/current");
    std::filesystem::create_symlink("built", directory.root.path() / "kernels/current");
    const auto kernel = find_guest_kernel(std::nullopt, directory.root.path()).value();
    CHECK(kernel.image == built / "vmlinux");
    CHECK(kernel.discovery == DeviceDiscovery::command_line);
    CHECK(kernel.module_directory.empty());
    CHECK(kernel.version == "built");
    // The operator's image is taken as it is.
    CHECK(find_guest_kernel(built / "vmlinuz", directory.root.path()).value().image == built / "vmlinuz");

    manifest.mmio_cmdline = false;
    manifest.pvh = false;
    KernelDirectory::write(built / kManifestName, to_json_text(manifest));
    const auto lesser = find_guest_kernel(std::nullopt, directory.root.path()).value();
    CHECK(lesser.image == built / "vmlinuz");
    CHECK(lesser.discovery == DeviceDiscovery::acpi);

    KernelDirectory::write(built / kManifestName, "{}");
    CHECK(find_guest_kernel(std::nullopt, directory.root.path()).error().reason == "kernel_unavailable");
  }

  TEST_CASE("no kernel is one error that says what to run") {
    const auto empty = base::TempDir::create("/tmp", "cleanroom-test-").value();
    for (const auto& configured :
         {std::optional<std::filesystem::path>(), std::optional<std::filesystem::path>("/no/such/vmlinuz")}) {
      const auto kernel = find_guest_kernel(configured, empty.path());
      REQUIRE_FALSE(kernel.has_value());
      CHECK(kernel.error().reason == "kernel_unavailable");
      CHECK(kernel.error().hint.find("cleanroom kernel fetch") != std::string::npos);
    }
  }

  TEST_CASE("the initramfs holds the agent as init, the console and the modules, and is made once") {
    const KernelDirectory directory;
    const auto kernel = find_guest_kernel(std::nullopt, directory.root.path()).value();
    const auto first = ensure_initramfs(kernel, directory.agent(), directory.cache());
    REQUIRE(first.has_value());
    const auto members = members_of(*first);
    CHECK(members.at("init") == std::pair<unsigned, std::string>{AE_IFREG | 0755, "the agent"});
    CHECK(members.at("modules/virtio_blk.ko").second == "module two");
    CHECK(members.at("modules/load-order").second == "virtio\nvirtio_blk\n");
    CHECK(members.at("dev/console").first == (AE_IFCHR | 0600));

    const auto written = std::filesystem::last_write_time(*first);
    CHECK(ensure_initramfs(kernel, directory.agent(), directory.cache()).value() == *first);
    CHECK(std::filesystem::last_write_time(*first) == written);
    // Another agent is another initramfs.
    KernelDirectory::write(directory.agent(), "the agent, rebuilt");
    CHECK(ensure_initramfs(kernel, directory.agent(), directory.cache()).value() != *first);
  }

  TEST_CASE("a load order that names a path is refused") {
    const KernelDirectory directory;
    KernelDirectory::write(directory.version / "load-order", "../../secret\n");
    const auto kernel = find_guest_kernel(std::nullopt, directory.root.path()).value();
    CHECK(ensure_initramfs(kernel, directory.agent(), directory.cache()).error().reason == "kernel_unavailable");
  }
}
