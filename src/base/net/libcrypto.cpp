#include "src/base/net/libcrypto.h"

#include "src/base/os/check.h"

#include <openssl/crypto.h>

namespace cleanroom::base {

void initialise_libcrypto() {
  static const int without_configuration = OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  CR_CHECK(without_configuration == 1, "libcrypto cannot be initialised");
}

}  // namespace cleanroom::base
