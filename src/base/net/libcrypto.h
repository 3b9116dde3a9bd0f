#pragma once
// What has to happen before the first use of libcrypto. Internal to src/base/net.

namespace cleanroom::base {

// libcrypto would read $OPENSSL_CONF at its first use, and load the modules that it names; after this it does not.
void initialise_libcrypto();

}  // namespace cleanroom::base
