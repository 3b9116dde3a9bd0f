#pragma once
// The rows of a Schema as a tree. Internal to src/base/text.
#include "src/base/text/schema.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace cleanroom::base {

struct SchemaTree {
  const SchemaRow* row = nullptr;  // nullptr only for the file itself
  std::map<std::string, std::unique_ptr<SchemaTree>, std::less<>> keys;
  std::unique_ptr<SchemaTree> any_key;
  std::unique_ptr<SchemaTree> item;

  // The schema outlives the tree. A path without rows for its parents is a bug (CR_CHECK).
  static SchemaTree of(const Schema& schema);
  std::vector<std::string> key_names() const;
};

std::string_view to_string(SchemaType type);

}  // namespace cleanroom::base
