#include "src/base/os/library_variables.h"

#include <cstdlib>

namespace cleanroom::base {

void forget_library_variables() {
  // resolv.conf(5), getaddrinfo(3), gai.conf; openssl-env(7); iconv(3), catopen(3), tzset(3): files that code is made
  // of.
  constexpr const char* kNames[] = {"HOSTALIASES",     "LOCALDOMAIN",     "RES_OPTIONS",     "GETCONF_DIR",
                                    "OPENSSL_CONF",    "OPENSSL_ENGINES", "OPENSSL_MODULES", "OPENSSL_CONF_INCLUDE",
                                    "OPENSSL_ia32cap", "SSL_CERT_DIR",    "SSL_CERT_FILE",   "SSLKEYLOGFILE",
                                    "CTLOG_FILE",      "GCONV_PATH",      "NLSPATH",         "LOCPATH",
                                    "NIS_PATH",        "TZDIR",           "MALLOC_TRACE",    "GLIBC_TUNABLES"};
  for (const auto* name : kNames)
    ::unsetenv(name);
}

}  // namespace cleanroom::base
