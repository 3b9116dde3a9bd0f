// The order of several places that may have a login.
#include "src/registry/login_chain.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using namespace cleanroom::registry;

namespace {

struct Canned : LoginSource {
  enum class Answer { none, login, failure, withheld };
  Canned(Answer a, std::string n, int* c) : answer(a), name(std::move(n)), calls(c) {}

  base::Result<std::optional<Login>> find(const std::string&, const std::string&) override {
    ++*calls;
    if (answer == Answer::failure) return base::fail(base::Code::unavailable, "credential_unavailable", name);
    if (answer != Answer::login) return std::optional<Login>();
    return std::optional<Login>(Login{.from = name});
  }
  std::string withheld(const std::string&, const std::string&) const override {
    return answer == Answer::withheld ? name : "";
  }

  Answer answer;
  std::string name;
  int* calls;
};

}  // namespace

TEST_CASE("the first place that knows a login counts; one that fails or withholds it ends the search") {
  using Answer = Canned::Answer;
  int first_calls = 0;
  int second_calls = 0;
  const auto ask = [&](Answer first, Answer second) {
    std::vector<std::unique_ptr<LoginSource>> sources;
    sources.push_back(std::make_unique<Canned>(first, "first", &first_calls));
    sources.push_back(std::make_unique<Canned>(second, "second", &second_calls));
    LoginChain chain(std::move(sources));
    const auto found = chain.find("r.test", "acme/web");
    if (!found) return "failure of " + found.error().message;
    if (*found) return "login of " + (*found)->from;
    const auto why = chain.withheld("r.test", "acme/web");
    return why.empty() ? std::string("none") : "withheld by " + why;
  };
  CHECK(ask(Answer::login, Answer::login) == "login of first");
  CHECK(ask(Answer::failure, Answer::login) == "failure of first");
  CHECK(ask(Answer::withheld, Answer::login) == "withheld by first");
  CHECK(second_calls == 0);
  CHECK(ask(Answer::none, Answer::login) == "login of second");
  CHECK(ask(Answer::none, Answer::withheld) == "withheld by second");
  CHECK(ask(Answer::none, Answer::none) == "none");
  CHECK(first_calls == 6);
}
