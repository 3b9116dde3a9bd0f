#pragma once
#include <doctest/doctest.h>

// CAPTURE() of a structured binding: clang 14 lets no lambda capture one, and CAPTURE is made of a lambda.
#define CAPTURE_BINDING(name)         \
  const auto& captured_##name = name; \
  CAPTURE(captured_##name)
