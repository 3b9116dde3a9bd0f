#pragma once
// For audit_schema_test.py, which holds what the tests write to docs/audit.schema.json.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace cleanroom::egress::testing {

// Copies the log to $CLEANROOM_TEST_KEEP_AUDIT, where that is set.
inline void keep_audit(const std::filesystem::path& log) {
  static std::atomic<int> number = 0;
  const char* directory = std::getenv("CLEANROOM_TEST_KEEP_AUDIT");
  if (directory == nullptr) return;
  std::error_code ignored;
  std::filesystem::copy_file(log, std::filesystem::path(directory) / (std::to_string(++number) + ".jsonl"), ignored);
}

}  // namespace cleanroom::egress::testing
