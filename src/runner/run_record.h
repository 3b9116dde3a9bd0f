#pragma once
// RunRecord: what happened in a run, as run.json (documented in docs/run-record.md) and as the closing summary.
#include "src/base/os/clock.h"
#include "src/base/os/result.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cleanroom::runner {

enum class Outcome { succeeded, failed, time_limit, cancelled, refused, infrastructure };
std::string_view to_string(Outcome outcome);

// Milliseconds a step took, in the order the steps ended.
class StepTimer {
 public:
  struct Step {
    std::string name;  // run.json: "<name>_ms"
    double milliseconds = 0;
  };
  // Since the last call, or construction.
  void finish(std::string name);
  // What passes from here on counts for the next step alone: the time until now stands in a record() of its own.
  void skip() { last_ = base::SteadyClock::now(); }
  void record(std::string name, double milliseconds) { steps_.push_back({std::move(name), milliseconds}); }
  // A step that began then and ends now, beside others.
  void record_since(std::string name, base::SteadyClock::time_point begun) {
    record(std::move(name), std::chrono::duration<double, std::milli>(base::SteadyClock::now() - begun).count());
  }
  const std::vector<Step>& steps() const { return steps_; }
  double total_ms() const;

 private:
  base::SteadyClock::time_point begun_ = base::SteadyClock::now();
  base::SteadyClock::time_point last_ = begun_;
  std::vector<Step> steps_;
};

struct NetworkCount {
  std::string host;
  std::uint16_t port = 0;
  std::uint64_t allowed = 0;
  std::uint64_t denied = 0;
  std::string reason;  // of the denials
};

struct RunRecord {
  std::string run_id;
  std::string started;  // RFC 3339
  std::string policy_file;
  std::string policy_hash;
  std::string image_digest;
  std::string image_source;
  std::string backend;
  std::string accelerator;
  bool hardware_isolation = false;
  std::map<std::string, std::string> isolation;  // wall around the VMM: why it is absent, empty when it stands
  std::string kernel_version;
  std::string template_key;    // of the template that the VM was restored from; empty: it was booted
  bool template_made = false;  // by this run
  std::uint32_t vcpus = 0;
  std::uint64_t memory_mib = 0;
  std::map<std::string, std::string> metadata;
  StepTimer timer;
  std::vector<NetworkCount> network;
  bool recorded = false;                         // --record: under the ceiling, not under the policy's network rules
  std::uint64_t audit_lost = 0;                  // events that are not in audit.jsonl
  std::optional<std::uint64_t> audit_sink_lost;  // events that the operator's second place did not take; null: no such
  std::uint64_t output_files = 0;                // brought back
  std::uint64_t output_bytes = 0;
  std::vector<std::string> outputs_rejected;  // "path: why"
  Outcome outcome = Outcome::infrastructure;
  std::string reason;   // stable code
  std::string message;  // for people; empty on success
  int exit_code = 125;
  std::optional<int> job_status;
  std::optional<int> job_signal;
  std::optional<std::uint64_t> max_rss_kib;
};

std::string to_json(const RunRecord& record);
// Lines for the job log; no trailing newline in any.
std::vector<std::string> summary_lines(const RunRecord& record);

}  // namespace cleanroom::runner
