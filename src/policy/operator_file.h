#pragma once
// Reading and checking one operator file, for those who decode one: src/policy, and src/credentials.
#include "src/base/text/schema.h"
#include "src/policy/operator_config.h"

#include <optional>
#include <string>

namespace cleanroom::policy {

struct OperatorDocument {
  std::filesystem::path path;
  base::CheckedDocument document;
};

// nullopt: there is no such file. A file of nothing but comments has no keys.
base::Result<std::optional<OperatorDocument>> check_operator_file(const OperatorPaths& paths, const std::string& name,
                                                                  const base::Schema& schema,
                                                                  base::Diagnostics& diagnostics);
// A file that an operator file names and that is trusted as it is: owner, mode and place are checked alike.
// config_insecure, config_invalid.
base::Result<std::string> read_trusted_file(const std::filesystem::path& path, const OperatorPaths& paths,
                                            std::size_t max_bytes);
// The error for a file whose diagnostics has errors.
base::Error operator_file_error(const std::filesystem::path& path, const base::Diagnostics& diagnostics);

}  // namespace cleanroom::policy
