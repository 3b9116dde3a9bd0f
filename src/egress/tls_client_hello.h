#pragma once
// Reads the start of a TLS connection far enough to know whom the client wants: record layer and ClientHello of
// RFC 8446 (5.1, 4.1.2) and RFC 5246, server_name of RFC 6066 section 3, encrypted_client_hello 0xfe0d.
//
// Any segmentation gives the same answer: the handshake message is put together from its records first, then read
// whole. Whatever two implementations could read in two ways is invalid: an extension twice, more than one name, a
// second message in the hello's record, lengths that do not add up. Nothing after the hello is looked at.
#include "src/model/host_name.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::egress {

struct ClientHello {
  std::optional<model::HostName> server_name;
  bool has_ech = false;  // also true for GREASE, which looks the same
};

class ClientHelloReader {
 public:
  enum class State { need_more, complete, invalid };

  // `bytes` are the next ones of the connection. After complete or invalid it changes nothing.
  State feed(std::span<const std::byte> bytes);

  State state() const { return state_; }
  const ClientHello& hello() const { return hello_; }      // after complete
  const std::string& problem() const { return problem_; }  // after invalid; fixed text
  // Every byte fed so far, to be sent upstream after the verdict.
  const std::vector<std::byte>& received() const { return received_; }

 private:
  State invalid(std::string_view problem);
  State read_records();
  State read_message();
  bool read_extensions(std::span<const std::uint8_t> list);
  bool read_server_name(std::span<const std::uint8_t> extension);

  State state_ = State::need_more;
  std::vector<std::byte> received_;
  std::size_t next_record_ = 0;        // offset in received_ of the first record not yet in message_
  std::vector<std::uint8_t> message_;  // handshake bytes of the records so far
  ClientHello hello_;
  std::string problem_;
};

}  // namespace cleanroom::egress
