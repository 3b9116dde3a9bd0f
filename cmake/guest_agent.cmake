# Builds the static guest agent with its own settings (no sanitizers, -Os, -static) and puts it beside the host programs.
include(ExternalProject)
# The unit tests need no agent: their build makes it when asked for (`scripts/build dev guest_agent`).
if(CLEANROOM_E2E_TESTS)
  set(agent_with_all "")
else()
  set(agent_with_all EXCLUDE_FROM_ALL ON)
endif()
ExternalProject_Add(guest_agent
  ${agent_with_all}
  SOURCE_DIR ${CMAKE_SOURCE_DIR}
  BINARY_DIR ${CMAKE_BINARY_DIR}/guest-static
  CMAKE_ARGS
    -DCMAKE_BUILD_TYPE=MinSizeRel -DCLEANROOM_GUEST_ONLY=ON -DCLEANROOM_WERROR=${CLEANROOM_WERROR}
    -DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}
    -DCMAKE_UNITY_BUILD=${CMAKE_UNITY_BUILD}
  BUILD_ALWAYS ON
  INSTALL_COMMAND ${CMAKE_COMMAND} -E copy_if_different
    ${CMAKE_BINARY_DIR}/guest-static/bin/cleanroom-agent ${CMAKE_BINARY_DIR}/bin/cleanroom-agent)
