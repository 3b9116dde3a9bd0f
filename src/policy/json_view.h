#pragma once
// JsonView: reads a value that check_schema() made. What the check refused is absent, so every getter has an answer for
// that.
#include "src/base/text/json.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cleanroom::policy {

class JsonView {
 public:
  JsonView(const base::Json* value, std::string path) : value_(value), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  bool present() const { return value_ != nullptr && !value_->is_null(); }

  JsonView operator[](const std::string& key) const {
    const std::string path = path_.empty() ? key : path_ + "." + key;
    if (value_ == nullptr || !value_->is_object()) return {nullptr, path};
    const auto found = value_->find(key);
    return {found == value_->end() ? nullptr : &*found, path};
  }
  // Elements of a list that are right, each with its index in the file in its path.
  std::vector<JsonView> items() const {
    std::vector<JsonView> out;
    if (value_ == nullptr || !value_->is_array()) return out;
    for (std::size_t i = 0; i < value_->size(); ++i) {
      if (!(*value_)[i].is_null()) out.emplace_back(&(*value_)[i], path_ + "[" + std::to_string(i) + "]");
    }
    return out;
  }
  std::vector<std::pair<std::string, JsonView>> members() const {
    std::vector<std::pair<std::string, JsonView>> out;
    if (value_ == nullptr || !value_->is_object()) return out;
    for (const auto& [key, member] : value_->items())
      out.emplace_back(key, JsonView(&member, path_ + "." + key));
    return out;
  }

  std::string text(std::string fallback = {}) const {
    return value_ != nullptr && value_->is_string() ? value_->get<std::string>() : std::move(fallback);
  }
  bool boolean(bool fallback) const {
    return value_ != nullptr && value_->is_boolean() ? value_->get<bool>() : fallback;
  }
  // The schema bounds the value to what T holds.
  template <class T>
  std::optional<T> integer() const {
    if (value_ == nullptr || !value_->is_number_integer()) return std::nullopt;
    return static_cast<T>(value_->get<std::int64_t>());
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> out;
    for (const auto& item : items())
      out.push_back(item.text());
    return out;
  }

 private:
  const base::Json* value_;
  std::string path_;
};

}  // namespace cleanroom::policy
