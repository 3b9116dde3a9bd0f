#pragma once
// CR_CHECK(condition, "message {}", values...): for bugs of ours, on in every build; prints and aborts. Never for
// input, environment or guest behaviour: those are Errors.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#define CR_CHECK(condition, ...)                                                                                       \
  do {                                                                                                                 \
    if (!(condition)) [[unlikely]] {                                                                                   \
      const auto cr_text = fmt::format("bug: {}:{}: {}: ", __FILE__, __LINE__, #condition) + fmt::format(__VA_ARGS__); \
      std::fputs((cr_text + "\n").c_str(), stderr);                                                                    \
      std::abort();                                                                                                    \
    }                                                                                                                  \
  } while (false)
