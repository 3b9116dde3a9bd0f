#pragma once
// JobRun: one job from request to exit code. Each phase is a function in a file of its own; what it acquired is undone
// by its owner, in reverse, whatever ends the run:
//
//   admit     job_prepare.cpp   operator files, policy, ceiling                                 -> refused (78)
//   prepare   job_prepare.cpp   kernel, initramfs, image                                        -> infrastructure (125)
//   launch    job_launch.cpp    audit log, gateway; START, egress                               -> infrastructure (125)
//             job_machine.cpp   a VM that waits for START: restored from a template, or cold; its disks meanwhile
//   command   job_command.cpp   the job; time limit and cancellation                            -> its status, 124,
//   128+n outputs   job_outputs.cpp   what the patterns match comes back; also after a failure teardown  job_run.cpp
//   guest off, VMM gone, work directory gone, run.json written
#include "src/backends/backend.h"
#include "src/backends/guest_kernel.h"
#include "src/backends/template_store.h"
#include "src/base/async/run_blocking.h"
#include "src/egress/audit_sink.h"
#include "src/egress/egress_server.h"
#include "src/image/image_store.h"
#include "src/runner/admission.h"
#include "src/runner/cancellation.h"
#include "src/runner/host_paths.h"
#include "src/runner/job_gateway.h"
#include "src/runner/job_log.h"
#include "src/runner/refusal_advice.h"
#include "src/runner/run_directory.h"
#include "src/runner/run_record.h"
#include "src/runner/run_request.h"

#include <memory>
#include <optional>
#include <stop_token>

namespace cleanroom::runner {

// The files behind the VM's disks, in the order of its slots.
struct JobDisks {
  base::Fd rootfs;  // read-only, shared by all VMs of the image
  base::Fd scratch;
  base::Fd workspace;
};

class JobRun {
 public:
  // All references outlive this. `pool` runs what blocks.
  JobRun(base::asio::io_context& context, base::BlockingPool& pool, JobLog& log, RunRequest request);
  ~JobRun();
  // Never fails: whatever happens becomes an exit code, a record and a line in the log.
  base::Awaitable<int> run();

 private:
  // The VM and what serves it; torn down from the last to the first.
  struct Machine {
    // Set when the egress server has let go of everything below.
    struct Ended {
      explicit Ended(const base::asio::any_io_executor& executor) : changed(executor) {}
      base::Event changed;
      bool over = false;
    };
    explicit Machine(const base::asio::any_io_executor& executor) : egress_ended(std::make_shared<Ended>(executor)) {}
    std::shared_ptr<Ended> egress_ended;
    egress::SystemResolver resolver;
    egress::SystemDialer dialer;
    std::unique_ptr<egress::AuditLog> audit;
    std::unique_ptr<JobGateway> gateway;  // null: the policy gives it nothing to serve
    std::unique_ptr<backends::Vm> vm;
    std::optional<channel::StreamSocket> control;  // until there is a session
    std::string panic;                             // the last line of a kernel that did not reach its agent
    std::unique_ptr<egress::EgressServer> egress;
    std::unique_ptr<GuestSession> session;
  };
  struct CommandEnd;
  // A template that is being published, on the pool, while the job runs.
  struct Publication {
    explicit Publication(const base::asio::any_io_executor& executor) : changed(executor) {}
    base::Event changed;
    bool over = false;
  };

  base::Awaitable<base::Result<void>> guarded_phases();
  base::Awaitable<base::Result<void>> run_phases();
  base::Result<void> admit_phase();
  void announce_recording();
  base::Result<void> open_audit_sink();
  base::Result<void> accept_backend();
  base::Awaitable<base::Result<void>> prepare_phase();
  base::Awaitable<base::Result<void>> prepare_image();
  std::function<void(std::string)> line_from_anywhere();
  base::Result<void> create_disk_files();
  base::Awaitable<base::Result<void>> fill_workspace();
  base::Awaitable<void> abandon_limit();
  base::Awaitable<base::Result<void>> launch_phase();
  base::Result<backends::LaunchSpec> launch_spec() const;
  base::Awaitable<base::Result<void>> start_machine();
  base::Awaitable<base::Result<void>> bring_up();
  base::Awaitable<base::Result<bool>> start_from_new_template(std::string key);
  base::Awaitable<base::Result<void>> meet_first_agent(backends::Vm& vm, std::optional<channel::StreamSocket>& control,
                                                       base::Deadline deadline);
  base::Awaitable<base::Result<void>> boot_cold();
  base::Awaitable<base::Result<void>> boot_once();
  base::Result<void> load_machine(const backends::SnapshotFiles& files);
  base::Awaitable<base::Result<void>> resume_machine(std::string template_key, base::Deadline begun);
  base::Awaitable<base::Result<void>> restore_found(backends::Template found);
  base::Awaitable<base::Result<void>> make_template(backends::TemplateBuild build);
  base::Awaitable<base::Result<void>> save_machine(const backends::TemplateBuild& build);
  base::Awaitable<base::Result<void>> uncancelled(base::Awaitable<base::Result<void>> step);
  void publish_template(backends::TemplateBuild build);
  base::Awaitable<void> end_publication();
  void note_no_template(std::string_view what, const base::Error& error, std::string_view next = "starting without");
  channel::StartRecord start_record() const;
  base::Awaitable<base::Result<void>> await_agent();
  base::Error with_console(base::Error error) const;
  base::Result<void> prepare_gateway();
  void serve_egress();
  base::Awaitable<void> end_egress();
  void announce(const egress::Denial& denial);
  void announce_git(const git_gateway::GitDenial& denial);
  base::Awaitable<base::Result<void>> command_phase();
  base::Awaitable<base::Result<void>> put_guest_files();
  base::Awaitable<base::Result<void>> run_command();
  base::Awaitable<void> end_command(std::shared_ptr<CommandEnd> end, int signal, base::Deadline hard_stop);
  base::Result<void> judge_command(const CommandEnd& end);
  base::Awaitable<void> outputs_phase();
  base::Awaitable<base::Result<void>> fetch_outputs();
  base::Awaitable<base::Result<void>> send_outputs(base::asio::posix::stream_descriptor into, base::Deadline deadline);
  base::Awaitable<void> stalled_reader_limit();
  base::Awaitable<void> teardown_phase();
  base::Awaitable<void> end_audit_sink();
  base::Awaitable<void> write_recording();
  void record_failure(const base::Error& error);
  void write_record();

  base::asio::io_context& context_;
  base::BlockingPool& pool_;
  JobLog& log_;
  std::shared_ptr<JobLog*> shared_log_ = std::make_shared<JobLog*>(&log_);
  RunRequest request_;
  Cancellation cancellation_;
  HostPaths paths_;
  RunRecord record_;
  std::optional<RunDirectory> directory_;
  std::optional<Admission> admission_;
  std::unique_ptr<backends::Backend> backend_;
  std::optional<image::StoredImage> image_;
  backends::GuestKernel kernel_;
  std::filesystem::path initramfs_;
  std::stop_source stop_;
  std::shared_ptr<egress::AuditSink> audit_sink_;  // outlives the audit log in machine_
  std::shared_ptr<JobDisks> disks_;
  std::optional<backends::TemplateStore> templates_;
  std::shared_ptr<Publication> publication_;
  std::unique_ptr<Machine> machine_;
  RefusedRepositories refused_repositories_;
  std::vector<std::string> refusal_advice_;  // closing lines
  std::size_t blocked_lines_ = 0;
  bool timed_out_ = false;
  bool command_ran_ = false;
  bool vm_killed_ = false;  // before the command ended by itself
};

}  // namespace cleanroom::runner
