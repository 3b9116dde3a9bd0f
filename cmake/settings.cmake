# Interface targets that every library and program of ours links: language settings, warnings, hardening, sanitizers.
include(CheckCXXCompilerFlag)
find_package(Threads REQUIRED)

add_library(cleanroom_settings INTERFACE)
target_include_directories(cleanroom_settings INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_features(cleanroom_settings INTERFACE cxx_std_20)
target_compile_definitions(cleanroom_settings INTERFACE CLEANROOM_VERSION="${PROJECT_VERSION}")

add_library(cleanroom_warnings INTERFACE)
# missing-field-initializers: designated initialisers leave the defaults to the struct.
# restrict (GCC alone has it): GCC 12 sees overlap in every optimised `"text" + std::string` (GCC bug 105651).
# subobject-linkage: a unity source includes .cpp files, whose anonymous namespaces GCC takes for a header's.
target_compile_options(cleanroom_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual
  -Wundef
  -Wno-missing-field-initializers $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-maybe-uninitialized>
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${CMAKE_UNITY_BUILD}>>:-Wno-subobject-linkage>
  -Werror=switch-enum -Werror=unused-result -Werror=return-type)
if(CLEANROOM_WERROR)
  target_compile_options(cleanroom_warnings INTERFACE -Werror)
endif()

add_library(cleanroom_hardening INTERFACE)
if(CLEANROOM_SANITIZE)
  target_compile_options(cleanroom_hardening INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
    $<$<CXX_COMPILER_ID:Clang>:-fno-sanitize=function>)  # clang 14 cannot put its prologue before an unoptimised coroutine
  target_link_options(cleanroom_hardening INTERFACE -fsanitize=address,undefined)
else()
  target_compile_options(cleanroom_hardening INTERFACE
    -fstack-protector-strong -fstack-clash-protection -fcf-protection
    $<$<CONFIG:Release,MinSizeRel,RelWithDebInfo>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>)
  target_link_options(cleanroom_hardening INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()
if(CLEANROOM_FUZZ)
  target_compile_options(cleanroom_hardening INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_compile_definitions(cleanroom_hardening INTERFACE _GLIBCXX_ASSERTIONS)

# cleanroom_library(NAME [SOURCES ...] [LINK ...]): a static library of one folder, alias cleanroom::<NAME>.
function(cleanroom_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(cleanroom_${name} STATIC ${ARG_SOURCES})
  add_library(cleanroom::${name} ALIAS cleanroom_${name})
  target_link_libraries(cleanroom_${name} PUBLIC cleanroom_settings cleanroom_hardening ${ARG_LINK} PRIVATE cleanroom_warnings)
  cleanroom_precompile(cleanroom_${name})
endfunction()

# cleanroom_program(NAME [SOURCES ...] [LINK ...]): an executable in bin/.
function(cleanroom_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE cleanroom_settings cleanroom_hardening cleanroom_warnings ${ARG_LINK})
  cleanroom_precompile(${name})
endfunction()
