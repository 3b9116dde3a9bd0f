#pragma once
// HostPattern: what the `host` of a network rule may say: a name, `*.suffix`, an IPv4 or IPv6 address, or a CIDR range.
#include "src/model/host_name.h"

#include <optional>
#include <string>

namespace cleanroom::policy {

enum class PatternUse { allow, deny };

// An allow rule's range is at least this long a prefix: 10.0.0.0/8 and fd00::/8 are the widest that someone runs.
inline constexpr int kMinAllowedPrefix = 8;

class HostPattern {
 public:
  enum class Kind { name, below, cidr };

  // All failures are invalid_input; message and hint are for people. An allow rule may not be a wildcard below a public
  // suffix (`*.com`, `*.co.uk`, `*.github.io`: anyone can register there; libpsl's list decides) nor a range shorter
  // than kMinAllowedPrefix; a deny rule may be both.
  static base::Result<HostPattern> parse(std::string_view text, PatternUse use);

  Kind kind() const { return kind_; }
  const std::string& name() const { return name_; }   // name; for `below` what stands after `*.`
  const model::Cidr& cidr() const { return *cidr_; }  // only for `cidr`
  std::string text() const;                           // canonical; a single address without its length

 private:
  HostPattern() = default;
  Kind kind_ = Kind::name;
  std::string name_;
  std::optional<model::Cidr> cidr_;
};

}  // namespace cleanroom::policy
