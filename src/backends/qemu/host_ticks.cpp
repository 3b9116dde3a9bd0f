#include "src/backends/qemu/host_ticks.h"

#include "src/backends/identity.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/io.h"
#include "src/base/os/temp_dir.h"

#include <algorithm>
#include <charconv>

namespace cleanroom::backends::qemu {

namespace {

// A reading of both clocks is exact to well below a microsecond: 5 ms make 0.01 %, and 1 ms is enough to see that a
// kept rate is still true. A run takes about as long to get to its VM.
constexpr std::chrono::milliseconds kMinSpan{5};
constexpr std::chrono::milliseconds kCheckSpan{1};

// A thread that loses its processor between two readings makes them two moments: the closest of some tries counts.
constexpr int kTries = 8;

// A kept rate further off than one part in this is another machine's: a VM that was moved.
constexpr std::uint64_t kTolerance = 1000;
constexpr const char* kFile = "tsc-khz";  // "<boot> <rate>"

std::uint64_t read_counter() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  const auto now = base::SteadyClock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
#endif
}

// None where there is no such file, or it is of another boot.
std::optional<std::uint64_t> read_kept(const std::filesystem::path& file, const std::string& prefix) {
  const auto text = base::read_file(file, 128);
  if (!text || !text->starts_with(prefix)) return std::nullopt;
  std::uint64_t kept = 0;
  const auto [end, error] = std::from_chars(text->data() + prefix.size(), text->data() + text->size(), kept);
  if (error != std::errc{}) return std::nullopt;
  return kept;
}

bool agree(std::uint64_t kept, std::uint64_t measured) {
  return std::max(kept, measured) - std::min(kept, measured) <= measured / kTolerance;
}

}  // namespace

HostTicks::HostTicks(std::filesystem::path cache_directory) : cache_(std::move(cache_directory)), begun_(read()) {}

HostTicks::Reading HostTicks::read() {
  Reading best;
  std::uint64_t least = ~std::uint64_t{0};
  for (int i = 0; i < kTries; ++i) {
    const auto before = read_counter();
    const auto time = base::SteadyClock::now();
    const auto between = read_counter() - before;
    if (between >= least) continue;
    least = between;
    best = {time, before + between / 2};
  }
  return best;
}

std::uint64_t HostTicks::khz() const {
  if (!khz_) khz_ = find_khz();
  return *khz_;
}

std::uint64_t HostTicks::find_khz() const {
  const auto boot = boot_identity();
  if (cache_.empty() || !boot) return measure(kMinSpan);
  const auto file = cache_ / kFile;
  const std::string prefix = *boot + " ";
  const auto kept = read_kept(file, prefix);
  if (kept && agree(*kept, measure(kCheckSpan))) return *kept;
  const auto measured = measure(kMinSpan);
  if (kept && agree(*kept, measured)) return *kept;
  // A cache that cannot be written only costs agreement.
  if (base::make_private_directories(cache_))
    (void)base::write_file_atomically(file, prefix + std::to_string(measured));
  return measured;
}

std::uint64_t HostTicks::measure(std::chrono::milliseconds min_span) const {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  Milliseconds span{};
  std::uint64_t ticks = 0;
  do {
    const auto now = read();
    span = now.time - begun_.time;
    ticks = now.ticks - begun_.ticks;
  } while (span < min_span);
  return static_cast<std::uint64_t>(static_cast<double>(ticks) / span.count());
}

}  // namespace cleanroom::backends::qemu
