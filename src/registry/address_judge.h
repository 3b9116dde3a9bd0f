#pragma once
// Which addresses a registry may send us on to.
struct sockaddr;

namespace cleanroom::registry {

// Global unicast, and no metadata service.
bool is_public_address(const sockaddr& address);
// Neither link-local nor a metadata service, which no registry has business with, wherever it stands.
bool is_usable_address(const sockaddr& address);

}  // namespace cleanroom::registry
