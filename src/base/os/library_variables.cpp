#include "src/base/os/library_variables.h"

#include <cstdlib>

namespace cleanroom::base {

void forget_library_variables() {
  // glibc prints what it does not understand of the file $RESOLV_HOST_CONF: any file, into the job log.
  // resolv.conf(5), getaddrinfo(3), gai.conf; openssl-env(7); iconv(3), catopen(3), tzset(3): files that code is made
  // of.
  constexpr const char* kNames[] = {"HOSTALIASES",
                                    "LOCALDOMAIN",
                                    "RESOLV_HOST_CONF",
                                    "RESOLV_MULTI",
                                    "RESOLV_REORDER",
                                    "RESOLV_ADD_TRIM_DOMAINS",
                                    "RESOLV_OVERRIDE_TRIM_DOMAINS",
                                    "RESOLV_SPOOF_CHECK",
                                    "RES_OPTIONS",
                                    "GETCONF_DIR",
                                    "OPENSSL_CONF",
                                    "OPENSSL_ENGINES",
                                    "OPENSSL_MODULES",
                                    "OPENSSL_CONF_INCLUDE",
                                    "OPENSSL_ia32cap",
                                    "SSL_CERT_DIR",
                                    "SSL_CERT_FILE",
                                    "SSLKEYLOGFILE",
                                    "CTLOG_FILE",
                                    "GCONV_PATH",
                                    "NLSPATH",
                                    "LOCPATH",
                                    "NIS_PATH",
                                    "TZDIR",
                                    "MALLOC_TRACE",
                                    "GLIBC_TUNABLES"};
  for (const auto* name : kNames)
    ::unsetenv(name);
}

}  // namespace cleanroom::base
