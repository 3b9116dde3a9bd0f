#include "src/channel/h2_session.h"

#include "src/base/os/check.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>

namespace cleanroom::channel {

namespace {

constexpr std::uint64_t kResetBurst = 10'000;
constexpr std::uint64_t kResetsPerSecond = 1000;

}  // namespace

struct H2Session::Stream {
  StreamId id = 0;
  Headers headers;  // being collected
  std::size_t header_bytes = 0;
  std::vector<std::byte> out;
  std::size_t out_offset = 0;
  bool announced = false;     // the handler knows it, or our side asked for it
  bool reset = false;         // RST_STREAM is on its way
  bool has_provider = false;  // nghttp2 asks us for data
  bool finished = false;      // finish() was called
  bool deferred = false;      // nghttp2 waits for resume
  bool write_was_short = false;
  std::size_t unconsumed = 0;  // of the connection's window, what on_data gave and consumed() did not give back

  std::size_t buffered() const { return out.size() - out_offset; }
};

namespace {

H2Session* self_of(void* user_data) {
  return static_cast<H2Session*>(user_data);
}

base::Error library_error(std::string_view attempt, long code) {
  return base::Error(base::Code::guest_failure, "protocol_error",
                     fmt::format("cannot {}: {}", attempt, nghttp2_strerror(static_cast<int>(code))));
}

std::vector<nghttp2_nv> views_of(const Headers& headers) {
  const auto bytes = [](const std::string& text) {
    return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));
  };
  std::vector<nghttp2_nv> views;
  views.reserve(headers.size());
  for (const auto& [name, value] : headers) {
    views.push_back({bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  return views;
}

}  // namespace

const std::string* find_header(const Headers& headers, std::string_view name) {
  const auto found =
      std::find_if(headers.begin(), headers.end(), [&](const Header& header) { return header.name == name; });
  return found == headers.end() ? nullptr : &found->value;
}

// nghttp2's C callbacks; a friend in all but name because it is nested.
struct H2Session::Callbacks {
  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    H2Session* self = self_of(user_data);
    auto& stream = self->streams_[frame->hd.stream_id];
    if (!stream) stream = std::make_unique<Stream>();
    stream->id = frame->hd.stream_id;
    stream->headers.clear();
    stream->header_bytes = 0;
    return 0;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user_data) {
    H2Session* self = self_of(user_data);
    Stream* stream = self->find(frame->hd.stream_id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    stream->header_bytes += name_size + value_size;
    if (stream->header_bytes > self->limits_.max_header_bytes) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    stream->headers.push_back({std::string(reinterpret_cast<const char*>(name), name_size),
                               std::string(reinterpret_cast<const char*>(value), value_size)});
    return 0;
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    H2Session* self = self_of(user_data);
    const StreamId id = frame->hd.stream_id;
    Stream* stream = self->find(id);
    if (stream == nullptr) return 0;
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
      deliver_headers(self, stream, ends);
    } else if (frame->hd.type == NGHTTP2_DATA && ends) {
      self->handler_.on_end(id);
    }
    return 0;
  }

  static void deliver_headers(H2Session* self, Stream* stream, bool ends) {
    const StreamId id = stream->id;
    Headers headers = std::move(stream->headers);
    stream->headers.clear();
    const std::string* status = find_header(headers, ":status");
    const bool is_message = find_header(headers, ":method") != nullptr || status != nullptr;
    if (status != nullptr && status->size() == 3 && status->front() == '1') return;  // interim response
    if (is_message) {
      stream->announced = true;
      self->handler_.on_headers(id, std::move(headers), ends ? EndStream::yes : EndStream::no);
    } else if (ends) {
      self->handler_.on_end(id);  // trailers: nothing of ours uses them
    }
  }

  static int on_data_chunk(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size,
                           void* user_data) {
    H2Session* self = self_of(user_data);
    Stream* stream = self->find(id);
    if (stream == nullptr) {
      nghttp2_session_consume_connection(self->session_, size);
      return 0;
    }
    stream->unconsumed += size;
    self->handler_.on_data(id, std::as_bytes(std::span(data, size)));
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t error_code, void* user_data) {
    H2Session* self = self_of(user_data);
    const Stream* stream = self->find(id);
    if (stream == nullptr) return 0;
    // What a closed stream left unread must not stay charged to all the others.
    nghttp2_session_consume_connection(self->session_, stream->unconsumed);
    const bool announced = stream->announced;
    self->streams_.erase(id);
    if (announced) self->handler_.on_closed(id, error_code);
    return 0;
  }

  static ssize_t read_data(nghttp2_session*, std::int32_t id, std::uint8_t*, std::size_t room, std::uint32_t* flags,
                           nghttp2_data_source*, void* user_data) {
    H2Session* self = self_of(user_data);
    Stream* stream = self->find(id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::size_t size = std::min(room, stream->buffered());
    if (size == 0 && !stream->finished) {
      stream->deferred = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;  // send_data takes the bytes
    if (size == stream->buffered() && stream->finished) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }

  // The frame that read_data has promised, straight into what pull() fills.
  static int send_data(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* head, std::size_t size,
                       nghttp2_data_source*, void* user_data) {
    H2Session* self = self_of(user_data);
    Stream* stream = self->find(frame->hd.stream_id);
    if (stream == nullptr || stream->buffered() < size) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    auto& into = *self->pulling_;
    if (into.size() >= self->pull_limit_) return NGHTTP2_ERR_WOULDBLOCK;
    constexpr std::size_t kFrameHead = 9;  // RFC 9113 section 4.1; we never pad
    const auto head_bytes = std::as_bytes(std::span(head, kFrameHead));
    into.insert(into.end(), head_bytes.begin(), head_bytes.end());
    const auto data = std::span<const std::byte>(stream->out).subspan(stream->out_offset, size);
    into.insert(into.end(), data.begin(), data.end());
    stream->out_offset += size;
    if (stream->out_offset == stream->out.size()) {
      stream->out.clear();
      stream->out_offset = 0;
    }
    if (stream->write_was_short && stream->buffered() <= self->limits_.send_buffer / 2) {
      stream->write_was_short = false;
      self->handler_.on_writable(stream->id);
    }
    return 0;
  }
};

H2Session::H2Session(Role role, const H2Limits& limits, Handler& handler) : limits_(limits), handler_(handler) {
  nghttp2_session_callbacks* callbacks = nullptr;
  CR_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0, "out of memory");
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::on_frame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::on_data_chunk);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::on_stream_close);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, Callbacks::send_data);
  nghttp2_option* option = nullptr;
  CR_CHECK(nghttp2_option_new(&option) == 0, "out of memory");
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_max_outbound_ack(option, 64);  // a PING or SETTINGS flood ends the connection
  nghttp2_option_set_max_settings(option, 32);
  // Every connection that a program in the guest aborts is a reset: the default (33 a second) is for the open internet,
  // and would take the network from a job that tests its own error handling. A flood is paced by what we accept.
  nghttp2_option_set_stream_reset_rate_limit(option, kResetBurst, kResetsPerSecond);
  const int made = role == Role::client ? nghttp2_session_client_new2(&session_, callbacks, this, option)
                                        : nghttp2_session_server_new2(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  CR_CHECK(made == 0, "cannot make an HTTP/2 session: {}", nghttp2_strerror(made));

  const std::vector<nghttp2_settings_entry> settings{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(limits.max_header_bytes)},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  const std::size_t count =
      role == Role::client ? settings.size() : settings.size() - 1;  // a server has no ENABLE_PUSH to send
  CR_CHECK(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), count) == 0, "settings");
  CR_CHECK(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                                 static_cast<std::int32_t>(limits.connection_window)) == 0,
           "connection window");
}

H2Session::~H2Session() {
  nghttp2_session_del(session_);
}

H2Session::Stream* H2Session::find(StreamId stream) {
  const auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : found->second.get();
}

base::Result<void> H2Session::receive(std::span<const std::byte> bytes) {
  const ssize_t n =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (n < 0) return base::fail(library_error("read HTTP/2 from the peer", n));
  return {};
}

base::Result<void> H2Session::pull(std::vector<std::byte>& into, std::size_t soft_limit) {
  pulling_ = &into;
  pull_limit_ = soft_limit;
  while (into.size() < soft_limit) {
    const std::uint8_t* data = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session_, &data);
    if (n < 0) return base::fail(library_error("write HTTP/2 to the peer", n));
    if (n == 0) return {};
    const auto chunk = std::as_bytes(std::span(data, static_cast<std::size_t>(n)));
    into.insert(into.end(), chunk.begin(), chunk.end());
  }
  return {};
}

bool H2Session::wants_to_send() const {
  return nghttp2_session_want_write(session_) != 0;
}

bool H2Session::is_finished() const {
  return nghttp2_session_want_write(session_) == 0 && nghttp2_session_want_read(session_) == 0;
}

base::Result<StreamId> H2Session::submit_request(const Headers& headers, EndStream end) {
  const nghttp2_data_provider provider{{}, Callbacks::read_data};
  const auto views = views_of(headers);
  const bool has_body = end == EndStream::no;
  // nghttp2 takes a request after GOAWAY too, and never says that it cannot be sent.
  if (nghttp2_session_check_request_allowed(session_) == 0)
    return base::fail(base::Code::cancelled, "cannot send a request: the connection is being shut down");
  const std::int32_t id =
      nghttp2_submit_request(session_, nullptr, views.data(), views.size(), has_body ? &provider : nullptr, nullptr);
  if (id < 0) return base::fail(library_error("send a request", id));
  auto stream = std::make_unique<Stream>();
  stream->id = id;
  stream->announced = true;
  stream->has_provider = has_body;
  stream->finished = !has_body;
  streams_[id] = std::move(stream);
  return id;
}

base::Result<void> H2Session::submit_response(StreamId id, const Headers& headers, EndStream end) {
  Stream* stream = find(id);
  if (stream == nullptr) return base::fail(base::Code::cancelled, "cannot answer a stream that is closed");
  const nghttp2_data_provider provider{{}, Callbacks::read_data};
  const auto views = views_of(headers);
  const bool has_body = end == EndStream::no;
  const int sent = nghttp2_submit_response(session_, id, views.data(), views.size(), has_body ? &provider : nullptr);
  if (sent != 0) return base::fail(library_error("send a response", sent));
  stream->has_provider = has_body;
  stream->finished = !has_body;
  return {};
}

std::size_t H2Session::room(StreamId id) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->finished) return 0;
  const std::size_t free = limits_.send_buffer - std::min(limits_.send_buffer, stream->buffered());
  stream->write_was_short = free < limits_.send_buffer / 2;
  return stream->write_was_short ? 0 : free;
}

std::size_t H2Session::write(StreamId id, std::span<const std::byte> bytes) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->finished) return 0;
  const std::size_t room = limits_.send_buffer - std::min(limits_.send_buffer, stream->buffered());
  const std::size_t size = std::min(room, bytes.size());
  // What is sent already does not pile up in front: a stream never holds more memory than its send buffer.
  if (stream->out_offset > 0 && stream->out.size() + size > limits_.send_buffer) {
    stream->out.erase(stream->out.begin(), stream->out.begin() + static_cast<std::ptrdiff_t>(stream->out_offset));
    stream->out_offset = 0;
  }
  if (stream->out.capacity() < stream->out.size() + size)
    stream->out.reserve(std::min(limits_.send_buffer, 2 * (stream->out.size() + size)));
  stream->out.insert(stream->out.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
  stream->write_was_short = size < bytes.size();
  if (size > 0 && stream->deferred) {
    stream->deferred = false;
    nghttp2_session_resume_data(session_, id);
  }
  return size;
}

void H2Session::finish(StreamId id) {
  Stream* stream = find(id);
  if (stream == nullptr || stream->finished) return;
  stream->finished = true;
  if (stream->deferred) {
    stream->deferred = false;
    nghttp2_session_resume_data(session_, id);
  }
}

void H2Session::reset(StreamId id, std::uint32_t error_code) {
  // Once: nghttp2 drops a request that is not sent yet, but a second RST_STREAM of it would go out, for a stream that
  // the peer has never seen, and that ends the connection.
  Stream* stream = find(id);
  if (stream == nullptr || stream->reset) return;
  stream->reset = true;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, error_code);
}

void H2Session::consumed(StreamId id, std::size_t size) {
  Stream* stream = find(id);
  if (stream == nullptr) return;  // closed: all of it was given back
  size = std::min(size, stream->unconsumed);
  stream->unconsumed -= size;
  nghttp2_session_consume(session_, id, size);
}

void H2Session::shut_down() {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_), 0, nullptr, 0);
}

}  // namespace cleanroom::channel
