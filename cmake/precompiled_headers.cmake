# The libraries' headers that many sources read, parsed once: most of an unoptimised compile is reading them. For the dev
# build (clang 14, which also keeps the templates they instantiate). A source includes what it uses all the same: the
# release build, the fuzz preset and clang-tidy go without.
option(CLEANROOM_PRECOMPILED_HEADERS "Parse the libraries' headers once for the whole build" OFF)

set(CLEANROOM_COMMON_HEADERS
  <algorithm> <array> <cerrno> <charconv> <chrono> <cstdint> <cstdlib> <cstring> <deque> <filesystem> <fstream> <functional> <map>
  <memory> <mutex> <optional> <set> <span> <sstream> <stop_token> <string> <string_view> <thread> <unordered_map> <utility> <vector>
  <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp> <tl/expected.hpp>)
set(CLEANROOM_ASIO_HEADERS
  <boost/asio/any_io_executor.hpp> <boost/asio/as_tuple.hpp> <boost/asio/awaitable.hpp> <boost/asio/buffer.hpp>
  <boost/asio/co_spawn.hpp> <boost/asio/detached.hpp> <boost/asio/experimental/awaitable_operators.hpp>
  <boost/asio/io_context.hpp> <boost/asio/posix/stream_descriptor.hpp> <boost/asio/steady_timer.hpp>
  <boost/asio/use_awaitable.hpp> <boost/asio/write.hpp>)

# Two sets, for what Asio's headers define wants its library (cleanroom::base_async) linked.
if(CLEANROOM_PRECOMPILED_HEADERS)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/precompiled_headers.cpp CONTENT "")
  foreach(set common asio)
    add_library(cleanroom_${set}_headers OBJECT ${CMAKE_BINARY_DIR}/precompiled_headers.cpp)
    target_link_libraries(cleanroom_${set}_headers PRIVATE
      cleanroom_settings cleanroom_hardening cleanroom_warnings dep::fmt dep::expected dep::json)
    # The same input is then the same file: ccache asks for it.
    target_compile_options(cleanroom_${set}_headers PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
    target_precompile_headers(cleanroom_${set}_headers PRIVATE ${CLEANROOM_COMMON_HEADERS})
  endforeach()
  target_link_libraries(cleanroom_asio_headers PRIVATE dep::boost)
  target_precompile_headers(cleanroom_asio_headers PRIVATE ${CLEANROOM_ASIO_HEADERS})
endif()

# Sets `result` to ON where a target has Asio's library linked, itself or by a library of ours.
function(cleanroom_links_asio target result)
  get_target_property(aliased ${target} ALIASED_TARGET)
  if(aliased)
    set(target ${aliased})
  endif()
  set(found OFF)
  if(target STREQUAL "cleanroom_base_async")
    set(found ON)
  endif()
  foreach(property LINK_LIBRARIES INTERFACE_LINK_LIBRARIES)
    get_target_property(links ${target} ${property})
    list(FILTER links INCLUDE REGEX "^cleanroom::")
    foreach(link IN LISTS links)
      if(NOT found)
        cleanroom_links_asio(${link} found)
      endif()
    endforeach()
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# To be called once all of a target's libraries are named.
function(cleanroom_precompile target)
  if(CLEANROOM_PRECOMPILED_HEADERS)
    cleanroom_links_asio(${target} asio)
    if(asio)
      target_precompile_headers(${target} REUSE_FROM cleanroom_asio_headers)
    else()
      target_precompile_headers(${target} REUSE_FROM cleanroom_common_headers)
    endif()
  endif()
endfunction()
