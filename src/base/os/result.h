#pragma once
// Result<T>, the return type of everything that can fail, and Error, what went wrong.
//
// Error::code is closed and says how a caller may react. Error::reason is a stable snake_case string for audit lines
// and JSON (`host_not_allowed`); nobody ever matches on Error::message, which is for people: lower-case, no trailing
// dot, "cannot <attempt> '<object>': <cause>". Project code throws no exceptions; a library's exceptions end in the
// adapter that includes the library.
#include <fmt/format.h>
#include <tl/expected.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cleanroom::base {

enum class Code {
  invalid_input,  // the caller's text or arguments are wrong; the same call never works
  policy_denied,  // a rule forbids it
  not_found,
  already_exists,
  failed_precondition,  // something on this host must change first; the message says what
  unavailable,          // may work when tried again
  timeout,
  cancelled,
  guest_failure,  // the VM or its agent broke the contract
  unsupported,    // valid, but not available in this build, backend or platform
  internal,       // a bug of ours
};

std::string_view to_string(Code code);

struct [[nodiscard]] Error {
  Code code = Code::internal;
  std::string reason;                // stable snake_case; empty where `code` says it all
  std::string message;               // for people
  std::string hint;                  // what to do next; may be empty
  std::vector<std::string> context;  // innermost first
  int os_errno = 0;

  Error() = default;
  Error(Code c, std::string m) : code(c), message(std::move(m)) {}
  Error(Code c, std::string r, std::string m) : code(c), reason(std::move(r)), message(std::move(m)) {}

  Error with_hint(std::string text) && {
    hint = std::move(text);
    return std::move(*this);
  }
  // Adds what the caller was doing: shown before the message, outermost first.
  Error with_context(std::string text) && {
    context.push_back(std::move(text));
    return std::move(*this);
  }
  // "outer: inner: message", one line.
  std::string describe() const;
};

template <class T>
using Result = tl::expected<T, Error>;
using Failure = tl::unexpected<Error>;

inline Failure fail(Error error) {
  return Failure(std::move(error));
}
inline Failure fail(Code code, std::string message) {
  return Failure(Error(code, std::move(message)));
}
inline Failure fail(Code code, std::string reason, std::string message) {
  return Failure(Error(code, std::move(reason), std::move(message)));
}

// "cannot open '/x': Permission denied", with the code that errno implies (ENOENT not_found, EEXIST already_exists,
// ...).
Error errno_error(std::string_view attempt, std::string_view object, int error_number);
Error errno_error(std::string_view attempt, std::string_view object);  // takes errno

}  // namespace cleanroom::base

#define CR_CONCAT_INNER(a, b) a##b
#define CR_CONCAT(a, b) CR_CONCAT_INNER(a, b)

// CR_TRY(expression): returns the error of a Result from this function, else goes on.
#define CR_TRY(...)                                                                  \
  do {                                                                               \
    auto cr_result = (__VA_ARGS__);                                                  \
    if (!cr_result) return ::cleanroom::base::Failure(std::move(cr_result).error()); \
  } while (false)

// CR_ASSIGN(declaration, expression): `CR_ASSIGN(auto fd, open_file(path));`
#define CR_ASSIGN(declaration, ...) CR_ASSIGN_INNER(CR_CONCAT(cr_result_, __LINE__), declaration, __VA_ARGS__)
#define CR_ASSIGN_INNER(name, declaration, ...)                          \
  auto name = (__VA_ARGS__);                                             \
  if (!name) return ::cleanroom::base::Failure(std::move(name).error()); \
  declaration = std::move(*name)

// The same two in a coroutine.
#define CR_CO_TRY(...)                                                                  \
  do {                                                                                  \
    auto cr_result = (__VA_ARGS__);                                                     \
    if (!cr_result) co_return ::cleanroom::base::Failure(std::move(cr_result).error()); \
  } while (false)
#define CR_CO_ASSIGN(declaration, ...) CR_CO_ASSIGN_INNER(CR_CONCAT(cr_result_, __LINE__), declaration, __VA_ARGS__)
#define CR_CO_ASSIGN_INNER(name, declaration, ...)                          \
  auto name = (__VA_ARGS__);                                                \
  if (!name) co_return ::cleanroom::base::Failure(std::move(name).error()); \
  declaration = std::move(*name)
