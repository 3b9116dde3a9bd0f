#include "src/base/net/base64.h"

#include "src/base/os/check.h"

#include <openssl/evp.h>

namespace cleanroom::base {

void append_base64(std::string& into, std::string_view bytes) {
  const std::size_t before = into.size();
  const std::size_t size = base64_size(bytes.size());
  into.resize(before + size + 1);  // EVP_EncodeBlock() ends with a NUL
  const int written =
      ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(into.data() + before),
                        reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  CR_CHECK(written == static_cast<int>(size), "{} bytes", written);
  into.resize(before + size);
}

}  // namespace cleanroom::base
