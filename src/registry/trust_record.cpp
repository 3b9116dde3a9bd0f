#include "src/registry/trust_record.h"

#include "src/base/net/sha256.h"
#include "src/base/os/atomic_file.h"
#include "src/base/os/check.h"
#include "src/base/os/temp_dir.h"

#include <algorithm>

namespace cleanroom::registry {

std::filesystem::path TrustRecord::file(const model::ImageReference& image, const std::string& key_fingerprint) const {
  CR_CHECK(image.pinned(), "a signature is over a digest");
  return directory_ / base::sha256_hex(fmt::format("{}/{}@{} {}", image.registry(), image.repository(),
                                                   image.digest()->to_string(), key_fingerprint));
}

bool TrustRecord::meets(const model::ImageReference& image, const policy::SignatureDemand& demand) const {
  return std::any_of(demand.keys.begin(), demand.keys.end(), [&](const base::PublicKey& key) {
    std::error_code error;
    return std::filesystem::is_regular_file(file(image, key.fingerprint()), error);
  });
}

base::Result<void> TrustRecord::add(const model::ImageReference& image, const std::string& key_fingerprint) const {
  CR_TRY(base::make_private_directories(directory_));
  return base::write_file_atomically(file(image, key_fingerprint), "", 0444);
}

}  // namespace cleanroom::registry
