#include "src/backends/firecracker/api_client.h"

#include "src/base/async/event.h"
#include "src/base/text/json.h"
#include "src/base/text/utf8.h"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <nlohmann/json.hpp>

namespace cleanroom::backends::firecracker {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using base::Awaitable;
using base::Code;
using base::Result;

namespace {

// What to do about it, where the request alone says enough.
std::string hint_for(const ApiCall& call) {
  if (call.path == "/boot-source")
    return "Firecracker wants an uncompressed kernel (ELF vmlinux) that it may read; see "
           "backends.firecracker.kernel_image";
  if (call.path == "/machine-config") return "ask for 1 to 32 virtual CPUs and for memory that this host has";
  if (call.path == "/actions") return "is /dev/kvm usable and the memory there? firecracker.log of the run has more";
  return "firecracker.log of the run has more";
}

base::Error broken(const ApiCall& call, std::string_view cause) {
  return base::Error(Code::unavailable, "launch_failed",
                     fmt::format("cannot start the VM: Firecracker's answer to {}: {}", describe(call), cause));
}

}  // namespace

std::string fault_text(const std::string& body) {
  std::string text = body;
  if (const auto answer = base::parse_json(body, "answer")) {
    const auto found = answer->find("fault_message");
    if (answer->is_object() && found != answer->end() && found->is_string()) text = found->get<std::string>();
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '.'))
    text.pop_back();
  const bool is_long = text.size() > kMaxFaultText;
  return base::escape_for_display(text.substr(0, kMaxFaultText)) + (is_long ? "..." : "");
}

void ApiClient::close() {
  base::ErrorCode ignored;
  socket_.close(ignored);
}

Awaitable<Result<void>> ApiClient::exchange(ApiCall call) {
  const auto verb = call.method == Method::put ? http::verb::put : http::verb::patch;
  http::request<http::string_body> request(verb, call.path, 11, call.body);
  request.set(http::field::host, "localhost");
  request.set(http::field::accept, "application/json");
  request.set(http::field::content_type, "application/json");
  request.prepare_payload();
  auto [write_ec, written] = co_await http::async_write(socket_, request, base::kTuple);
  if (write_ec) co_return base::fail(broken(call, "it hung up"));

  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.header_limit(kMaxAnswerHead);
  parser.body_limit(kMaxAnswerBody);
  auto [read_ec, read] = co_await http::async_read(socket_, buffer, parser, base::kTuple);
  if (read_ec) {
    const bool ended = read_ec == http::error::end_of_stream || read_ec == base::asio::error::connection_reset;
    co_return base::fail(broken(call, ended ? "it hung up" : read_ec.message()));
  }
  const auto& answer = parser.get();
  if (answer.result_int() / 100 == 2) co_return Result<void>{};
  const std::string fault = fault_text(answer.body());
  base::Error error(Code::failed_precondition, "launch_failed",
                    fmt::format("cannot start the VM: Firecracker refuses {}: {}", describe(call),
                                fault.empty() ? fmt::format("status {}", answer.result_int()) : fault));
  co_return base::fail(std::move(error).with_hint(hint_for(call)));
}

Awaitable<Result<void>> ApiClient::call(ApiCall call, base::Deadline deadline) {
  const std::string name = describe(call);
  auto answered = co_await base::with_deadline<void>(deadline, "get Firecracker's answer to " + name, exchange(call));
  if (!answered && answered.error().code != Code::failed_precondition) close();
  if (!answered && answered.error().code == Code::timeout) {
    base::Error error = std::move(answered).error();
    error.reason = "launch_timeout";
    co_return base::fail(std::move(error));
  }
  co_return answered;
}

}  // namespace cleanroom::backends::firecracker
