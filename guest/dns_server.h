#pragma once
// The DNS of the guest, 198.18.0.1:53, UDP and TCP. It knows the names the policy allows and nothing else: an allowed
// name has one A record, its address in the NameTable; any other name does not exist (NXDOMAIN) and is noted.
#include "guest/denials.h"
#include "guest/dns_message.h"
#include "guest/loop.h"
#include "guest/name_table.h"

#include <map>
#include <memory>

namespace cleanroom::guest {

// What the DNS says to a question; a refused name goes to `denials`.
std::vector<std::byte> answer_dns(const DnsQuestion& question, NameTable& names, Denials& denials);

class DnsServer {
 public:
  static base::Result<std::unique_ptr<DnsServer>> create(Loop& loop, NameTable& names, Denials& denials);
  ~DnsServer();

 private:
  struct Client;
  DnsServer(Loop& loop, NameTable& names, Denials& denials);
  base::Result<void> open();
  void on_datagram();
  void on_connection();
  void on_client(int fd);
  void drop_client(int fd);

  Loop& loop_;
  NameTable& names_;
  Denials& denials_;
  base::Fd datagrams_;
  base::Fd listener_;
  std::map<int, std::unique_ptr<Client>> clients_;
};

}  // namespace cleanroom::guest
