#pragma once
// Which addresses a registry may send us on to.
#include <string_view>

struct sockaddr;

namespace cleanroom::registry {

// Global unicast, and no metadata service.
bool is_public_address(const sockaddr& address);
// Neither link-local nor a metadata service, which no registry has business with, wherever it stands.
bool is_usable_address(const sockaddr& address);
// Whether `text`, an address, is one that is_public_address() takes. False for what is no address.
bool is_public_address(std::string_view text);

}  // namespace cleanroom::registry
