#include "src/base/text/json.h"

#include "src/base/text/diagnostic.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <set>
#include <vector>

namespace cleanroom::base {
namespace {

// Checks what nlohmann's own builder lets pass (duplicate keys, depth, count) without building anything.
class StrictChecker : public nlohmann::json_sax<Json> {
 public:
  explicit StrictChecker(const JsonLimits& limits) : limits_(limits) {}
  const std::string& fault() const { return fault_; }

  bool null() override { return count(); }
  bool boolean(bool) override { return count(); }
  bool number_integer(number_integer_t) override { return count(); }
  bool number_unsigned(number_unsigned_t) override { return count(); }
  bool number_float(number_float_t, const string_t&) override { return count(); }
  bool string(string_t&) override { return count(); }
  bool binary(binary_t&) override { return stop("binary values are not JSON"); }
  bool start_object(std::size_t) override { return open(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    return stop(fmt::format("duplicate key {}", quote_text(name)));
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // nlohmann's text is "[json.exception.parse_error.101] parse error at line 1, column 2: ...; last read: '...'", and
    // the end of it is as long as the token, with its bytes.
    std::string_view what = error.what();
    const std::size_t start = what.find("parse error");
    what = what.substr(start == std::string_view::npos ? 0 : start);
    return stop(fmt::format("byte {}: {}", position, what.substr(0, what.find("; last read: "))));
  }

 private:
  bool stop(std::string fault) {
    fault_ = std::move(fault);
    return false;
  }
  bool count() {
    return ++values_ <= limits_.max_values || stop(fmt::format("more than {} values", limits_.max_values));
  }
  bool open() {
    if (keys_.size() >= limits_.max_depth) return stop(fmt::format("nested deeper than {} levels", limits_.max_depth));
    keys_.emplace_back();
    return count();
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  JsonLimits limits_;
  std::vector<std::set<std::string>> keys_;  // one for each open object or array
  std::size_t values_ = 0;
  std::string fault_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, std::string_view name, JsonLimits limits) {
  const auto refuse = [&](std::string_view why) {
    return fail(Code::invalid_input, fmt::format("cannot read {} as JSON: {}", quote_text(name), why));
  };
  if (text.size() > limits.max_bytes) return refuse(fmt::format("longer than {} bytes", limits.max_bytes));
  try {
    StrictChecker checker(limits);
    if (!Json::sax_parse(text, &checker)) return refuse(checker.fault());
    return Json::parse(text);
  } catch (const Json::exception& error) {
    return refuse(error.what());
  }
}

std::string canonical_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cleanroom::base
