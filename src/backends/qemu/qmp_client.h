#pragma once
// QMP, QEMU's monitor protocol, as far as saving and restoring a machine needs it.
//
// Primer: JSON objects, one a line. QEMU greets; after `qmp_capabilities` each command gets one `return` or `error`, in
// order, and events come in between. A descriptor travels beside its `getfd` as SCM_RIGHTS.
// Limits: a line of 64 KiB, 64 events kept. https://www.qemu.org/docs/master/interop/qmp-spec.html
#include "src/base/os/fd.h"
#include "src/base/text/json.h"
#include "src/channel/h2_connection.h"

#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::backends::qemu {

class QmpClient {
 public:
  explicit QmpClient(channel::StreamSocket socket) : socket_(std::move(socket)) {}

  // Sends commands, each one JSON object and a newline, without waiting for an answer.
  base::Awaitable<base::Result<void>> send(std::string commands);
  // Makes `fd` known to QEMU by that name; its answer is awaited as another command's.
  base::Result<void> send_descriptor(const base::Fd& fd, std::string_view name);
  // Waits for so many answers. unavailable: QEMU refused one (its own words), or ended.
  base::Awaitable<base::Result<void>> answers(std::size_t count);
  // Waits for an event of that name whose data has `status` (any, when empty). unavailable: it ended with
  // `failed_status`, or QEMU ended.
  base::Awaitable<base::Result<void>> event(std::string name, std::string status, std::string failed_status);

 private:
  struct Event {
    std::string name;
    std::string status;
  };
  base::Awaitable<base::Result<base::Json>> next();
  base::Result<void> keep(const base::Json& message);

  channel::StreamSocket socket_;
  std::string buffer_;
  std::vector<Event> events_;
};

}  // namespace cleanroom::backends::qemu
