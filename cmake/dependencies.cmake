# Third parties, each wrapped as dep::<name> with SYSTEM includes, so that a folder names exactly what it uses.
# Why each one is here: docs/dependencies.md.
find_package(PkgConfig REQUIRED)

function(cleanroom_dep name)
  add_library(dep_${name} INTERFACE)
  add_library(dep::${name} ALIAS dep_${name})
  target_link_libraries(dep_${name} INTERFACE ${ARGN})
endfunction()

function(cleanroom_pkg_dep name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${ARGN})
  cleanroom_dep(${name} PkgConfig::${name})
endfunction()

find_package(fmt REQUIRED)
if(CLEANROOM_GUEST_ONLY)
  cleanroom_dep(fmt fmt::fmt-header-only)  # Debian ships no static libfmt
else()
  cleanroom_dep(fmt fmt::fmt)
endif()
find_package(tl-expected REQUIRED)
cleanroom_dep(expected tl::expected)

if(CLEANROOM_GUEST_ONLY)
  # The agent is one static file: the archive, not the shared object.
  find_library(NGHTTP2_STATIC libnghttp2.a REQUIRED)
  cleanroom_dep(nghttp2 ${NGHTTP2_STATIC})
  target_compile_definitions(dep_nghttp2 INTERFACE NGHTTP2_STATICLIB)
  return()
endif()

cleanroom_pkg_dep(nghttp2 libnghttp2)
cleanroom_pkg_dep(yaml yaml-cpp)
find_package(nlohmann_json REQUIRED)
cleanroom_dep(json nlohmann_json::nlohmann_json)
find_package(CLI11 REQUIRED)
cleanroom_dep(cli11 CLI11::CLI11)
find_package(OpenSSL REQUIRED)
cleanroom_dep(crypto OpenSSL::Crypto)
cleanroom_dep(ssl OpenSSL::SSL)
cleanroom_pkg_dep(archive libarchive)
cleanroom_pkg_dep(curl libcurl)
cleanroom_pkg_dep(seccomp libseccomp)
cleanroom_pkg_dep(isal libisal)
cleanroom_pkg_dep(zstd libzstd)
cleanroom_pkg_dep(ext2fs ext2fs com_err)
cleanroom_pkg_dep(idn2 libidn2)
cleanroom_pkg_dep(psl libpsl)
find_package(Boost 1.81 REQUIRED)
cleanroom_dep(boost Boost::headers)
# Asio is compiled once (src/base/async/asio_impl.cpp), not in every translation unit.
target_compile_definitions(dep_boost INTERFACE BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
cleanroom_dep(threads Threads::Threads)
