// Secret: nothing prints it, copies it or finds it in memory afterwards.
#include "src/base/os/secret.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <ostream>
#include <type_traits>

using cleanroom::base::Secret;

namespace {

template <class T, class = void>
struct Streams : std::false_type {};
template <class T>
struct Streams<T, std::void_t<decltype(std::declval<std::ostream&>() << std::declval<const T&>())>> : std::true_type {};

static_assert(!std::is_copy_constructible_v<Secret> && !std::is_copy_assignable_v<Secret>);
static_assert(!std::is_convertible_v<Secret, std::string> && !std::is_convertible_v<Secret, std::string_view>);
static_assert(!Streams<Secret>::value);
static_assert(!fmt::is_formattable<Secret>::value);

}  // namespace

TEST_CASE("a secret leaves nothing in the text it was made from") {
  std::string text = "canary-7c1f0a9e-long-enough-for-the-heap";
  const Secret secret(std::move(text));
  // NOLINTNEXTLINE(bugprone-use-after-move,clang-analyzer-cplusplus.Move): what is left is the point
  CHECK(text.empty());
  CHECK(std::string_view(text.data(), 6) != "canary");
  CHECK(secret.reveal() == "canary-7c1f0a9e-long-enough-for-the-heap");
}

TEST_CASE("a moved secret has one owner, and a clone is another") {
  Secret first(std::string("canary-1"));
  Secret second(std::move(first));
  // NOLINTNEXTLINE(bugprone-use-after-move,clang-analyzer-cplusplus.Move): moved-from is empty by contract
  CHECK(first.empty());
  const auto copy = second.clone();
  second = Secret(std::string("canary-2"));
  CHECK(copy.reveal() == "canary-1");
  CHECK(second.reveal() == "canary-2");
}

TEST_CASE("wiping a string overwrites its characters") {
  std::string text = "canary-7c1f0a9e-long-enough-for-the-heap";
  const char* where = text.data();
  cleanroom::base::wipe(text);
  CHECK(text.empty());
  CHECK(std::string_view(where, 1) == std::string_view("\0", 1));
}
