#pragma once
// Exchange: one request on the control stream that is not answered at once. Control owns it; it stays until is_over(),
// which may be after its stream was closed.
#include "src/channel/h2_session.h"

#include <span>

namespace cleanroom::guest {

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual void on_data(std::span<const std::byte> bytes) = 0;
  virtual void on_end() = 0;
  virtual void on_writable() = 0;
  // The stream is gone: no method of the session may be called for it any more. Ends what still runs.
  virtual void on_closed() = 0;
  virtual bool is_over() const = 0;
};

// A whole response: `status`, and a line of text when there is one.
void respond(channel::H2Session& session, channel::StreamId stream, int status, std::string_view text = {});

}  // namespace cleanroom::guest
