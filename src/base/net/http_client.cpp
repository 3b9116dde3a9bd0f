#include "src/base/net/http_client.h"

#include "src/base/os/ascii.h"
#include "src/base/os/check.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

namespace cleanroom::base {
namespace {

constexpr std::size_t kMaxHeaderBytes = 64u << 10;
constexpr long kBufferBytes = 256l << 10;
constexpr std::chrono::seconds kRateWindow{60};
constexpr curl_off_t kRateBytes = 64l << 10;  // in each window, or the other end is not worth waiting for

// Must be called once before other threads use libcurl; it is thread-safe since 7.84 where atomics are, as here.
void ensure_initialised() {
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  CR_CHECK(ready, "libcurl cannot be set up");
}

// One request under way: what libcurl's callbacks see.
struct Transfer {
  const HttpRequest& request;
  HttpSink* sink;
  CURL* handle;
  HttpResponse response;
  std::size_t header_bytes = 0;
  bool head_ended = false;
  bool head_given = false;
  std::optional<Error> error;
  bool address_refused = false;
  SteadyClock::time_point moved = SteadyClock::now();
  curl_off_t moved_bytes = 0;
  SteadyClock::time_point window_start = SteadyClock::now();
  curl_off_t window_bytes = 0;
  SteadyClock::duration in_sink{};  // of the window
  bool judged = true;               // addresses, by allow_address

  bool fail_with(Error failure) {
    if (!error) error = std::move(failure);
    return false;
  }
  bool give_head() {
    if (std::exchange(head_given, true)) return true;
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    response.status = static_cast<int>(status);
    if (!sink) return true;
    auto taken = sink->head(response);
    return taken ? true : fail_with(std::move(taken.error()));
  }
};

std::string_view trimmed(std::string_view text) {
  const std::string_view blanks = " \t\r\n";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  const std::string_view line(data, size * count);
  transfer.header_bytes += line.size();
  if (transfer.header_bytes > kMaxHeaderBytes) {
    transfer.fail_with(Error(Code::invalid_input, "the answer's headers are larger than 64 KiB"));
    return 0;
  }
  // A 1xx answer or a proxy's comes before the one that counts.
  if (line.starts_with("HTTP/")) {
    transfer.response.headers.clear();
    transfer.head_ended = false;
  }
  if (trimmed(line).empty()) transfer.head_ended = true;
  const auto colon = line.find(':');
  if (colon != std::string_view::npos)
    transfer.response.headers.emplace(ascii_lower(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
  return line.size();
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  const std::size_t bytes = size * count;
  if (!transfer.give_head()) return 0;
  if (transfer.sink) {
    const auto begun = SteadyClock::now();
    auto taken = transfer.sink->body(std::as_bytes(std::span(data, bytes)));
    transfer.moved = SteadyClock::now();
    transfer.in_sink += transfer.moved - begun;
    if (!taken) {
      transfer.fail_with(std::move(taken.error()));
      return 0;
    }
    return bytes;
  }
  if (transfer.response.body.size() + bytes > transfer.request.max_body) {
    transfer.fail_with(
        Error(Code::invalid_input, fmt::format("the answer is larger than {} bytes", transfer.request.max_body)));
    return 0;
  }
  transfer.response.body.append(data, bytes);
  return bytes;
}

// Called about once a second at least, and after each part.
int on_progress(void* self, curl_off_t, curl_off_t down, curl_off_t, curl_off_t up) {
  auto& transfer = *static_cast<Transfer*>(self);
  const auto now = SteadyClock::now();
  if (down + up != transfer.moved_bytes) {
    transfer.moved_bytes = down + up;
    transfer.moved = now;
  }
  if (transfer.request.stop.stop_requested()) {
    transfer.fail_with(Error(Code::cancelled, "cancelled", "the request was cancelled"));
    return 1;
  }
  if (now - transfer.window_start - transfer.in_sink > kRateWindow) {
    if (down + up - transfer.window_bytes < kRateBytes) {
      transfer.fail_with(Error(Code::timeout, "less than 64 KiB arrived in a minute"));
      return 1;
    }
    transfer.window_start = now;
    transfer.window_bytes = down + up;
    transfer.in_sink = {};
  }
  if (now - transfer.moved > transfer.request.stall_timeout) {
    transfer.fail_with(
        Error(Code::timeout, fmt::format("no byte arrived for {} s", transfer.request.stall_timeout.count() / 1000)));
    return 1;
  }
  return 0;
}

curl_socket_t on_open_socket(void* self, curlsocktype purpose, curl_sockaddr* address) {
  auto& transfer = *static_cast<Transfer*>(self);
  const bool judged = purpose == CURLSOCKTYPE_IPCXN && transfer.request.allow_address && transfer.judged;
  if (judged && !transfer.request.allow_address(address->addr)) {
    transfer.address_refused = true;
    return CURL_SOCKET_BAD;
  }
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// What libcurl goes by: http_proxy has no spelling in capitals, which a CGI client could set.
bool has_proxy_for(std::string_view url) {
  const auto is_set = [](const char* name) {
    const char* value = std::getenv(name);
    return value && *value;
  };
  const bool own =
      url_origin(url).starts_with("https") ? is_set("https_proxy") || is_set("HTTPS_PROXY") : is_set("http_proxy");
  return own || is_set("all_proxy") || is_set("ALL_PROXY");
}

long port_of(std::string_view url) {
  const std::string origin = url_origin(url);
  const auto colon = origin.rfind(':');
  const bool said =
      colon != std::string::npos && colon > origin.find("://") && origin.find(']', colon) == std::string::npos;
  if (said) return std::strtol(origin.c_str() + colon + 1, nullptr, 10);
  return origin.starts_with("https") ? 443 : 80;
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

HeaderList header_list(const HttpRequest& request) {
  curl_slist* list = nullptr;
  const auto append = [&list](const std::string& line) {
    curl_slist* longer = curl_slist_append(list, line.c_str());
    CR_CHECK(longer, "out of memory");
    list = longer;
  };
  for (const std::string& header : request.headers)
    append(header);
  append("Expect:");  // no waiting for 100 Continue
  return HeaderList(list);
}

Code code_of(CURLcode code, std::string_view url) {
  if (code == CURLE_OPERATION_TIMEDOUT) return Code::timeout;
  // Also what libcurl says of an answer that is no HTTP.
  if (code == CURLE_UNSUPPORTED_PROTOCOL && url_origin(url).starts_with("http")) return Code::unavailable;
  if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) return Code::invalid_input;
  const bool untrusted =
      code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
  return untrusted ? Code::failed_precondition : Code::unavailable;
}

}  // namespace

struct HttpClient::State {
  struct Cleanup {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  std::unique_ptr<CURL, Cleanup> handle;

  template <class Value>
  void set(CURLoption option, Value value) const {
    CR_CHECK(curl_easy_setopt(handle.get(), option, value) == CURLE_OK, "libcurl does not know an option");
  }
  void set_common(Transfer& transfer) const;
  void set_request(const HttpRequest& request, const curl_slist* headers) const;
};

void HttpClient::State::set_common(Transfer& transfer) const {
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_USERAGENT, "cleanroom/" CLEANROOM_VERSION);
  set(CURLOPT_BUFFERSIZE, kBufferBytes);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(CURLOPT_HEADERFUNCTION, on_header);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEFUNCTION, on_body);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_XFERINFOFUNCTION, on_progress);
  set(CURLOPT_XFERINFODATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  set(CURLOPT_OPENSOCKETDATA, &transfer);
}

void HttpClient::State::set_request(const HttpRequest& request, const curl_slist* headers) const {
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_HTTPHEADER, headers);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(time_left(request.deadline).count(), 1)));
  if (request.ca_file) set(CURLOPT_CAINFO, request.ca_file->c_str());
  if (!request.unix_socket.empty()) {
    set(CURLOPT_UNIX_SOCKET_PATH, request.unix_socket.c_str());
    set(CURLOPT_PROXY, "");
  }
  if (request.method == "HEAD") set(CURLOPT_NOBODY, 1L);
  if (request.method == "POST") {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    // Not copied: the request outlives the transfer.
    set(CURLOPT_POSTFIELDS, request.body.empty() ? "" : request.body.reveal().data());
  }
}

HttpClient::HttpClient() : state_(std::make_unique<State>()) {
  ensure_initialised();
  state_->handle.reset(curl_easy_init());
  CR_CHECK(state_->handle, "libcurl cannot be set up");
}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;

Result<HttpResponse> HttpClient::perform(const HttpRequest& request, HttpSink* sink) {
  CURL* const handle = state_->handle.get();
  Transfer transfer{.request = request, .sink = sink, .handle = handle};
  curl_easy_reset(handle);  // keeps connections
  state_->set_common(transfer);
  HeaderList headers = header_list(request);
  // libcurl copies a header's text into the list and into its send buffer; both are freed, not wiped.
  if (!request.authorization.empty()) {
    std::string line = "Authorization: ";
    line += request.authorization.reveal();
    curl_slist* const longer = curl_slist_append(headers.get(), line.c_str());
    wipe(line);
    CR_CHECK(longer, "out of memory");
  }
  state_->set_request(request, headers.get());
  if (request.proxy_judges && has_proxy_for(request.url)) {
    transfer.judged = false;
    state_->set(CURLOPT_NOPROXY, "");
  }
  CURLcode code = curl_easy_perform(handle);
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, nullptr);
  const auto about = [&](Error error) { return fail(std::move(error).with_context(url_origin(request.url))); };
  // libcurl takes a connection that ends within the headers for the end of an empty body.
  if (code == CURLE_OK && !transfer.head_ended) code = CURLE_GOT_NOTHING;
  char* peer = nullptr;
  long peer_port = 0;
  curl_easy_getinfo(handle, CURLINFO_PRIMARY_IP, &peer);
  curl_easy_getinfo(handle, CURLINFO_PRIMARY_PORT, &peer_port);
  if (peer && peer_port == port_of(request.url)) transfer.response.peer = peer;
  if (code == CURLE_OK && !transfer.error) transfer.give_head();
  if (code == CURLE_OK && !transfer.error) return std::move(transfer.response);
  // A handle that failed may be in a state that takes no options any more; a try that follows gets fresh connections.
  state_->handle.reset(curl_easy_init());
  CR_CHECK(state_->handle, "libcurl cannot be set up");
  if (transfer.error) return about(std::move(*transfer.error));
  if (transfer.address_refused)
    return about(Error(Code::policy_denied, "its name leads to an address that may not be reached"));
  return about(Error(code_of(code, request.url), curl_easy_strerror(code)));
}

std::string_view HttpResponse::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

std::string url_origin(std::string_view url) {
  const auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return {};
  const auto end = url.find_first_of("/?#", scheme + 3);
  std::string_view authority = url.substr(scheme + 3, end == std::string_view::npos ? end : end - scheme - 3);
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) authority.remove_prefix(at + 1);
  return ascii_lower(url.substr(0, scheme + 3)) + ascii_lower(authority);
}

}  // namespace cleanroom::base
