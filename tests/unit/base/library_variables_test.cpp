#include "src/base/os/library_variables.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <initializer_list>

TEST_CASE("variables that steer libraries are gone, others stay") {
  for (const auto* name :
       {"SSL_CERT_FILE", "OPENSSL_CONF", "LOCALDOMAIN", "HOSTALIASES", "RES_OPTIONS", "RESOLV_HOST_CONF"})
    ::setenv(name, "/tmp/evil", 1);
  ::setenv("CLEANROOM_TEST_STAYS", "1", 1);
  cleanroom::base::forget_library_variables();
  for (const auto* name :
       {"SSL_CERT_FILE", "OPENSSL_CONF", "LOCALDOMAIN", "HOSTALIASES", "RES_OPTIONS", "RESOLV_HOST_CONF"})
    CHECK(::getenv(name) == nullptr);
  CHECK(::getenv("CLEANROOM_TEST_STAYS") != nullptr);
}
