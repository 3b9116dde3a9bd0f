#pragma once
// The configuration fragment (guest/kernel/fragment.config) against the configuration that Kconfig made of it. Kconfig
// drops a line whose dependencies are not met without a word; a kernel that silently lacks what a job needs is worse
// than none, so every line is looked for.
#include <string>
#include <string_view>
#include <vector>

namespace cleanroom::backends {

// Lines of `fragment` that do not hold in `config`: `CONFIG_X=n` holds when X is not set, any other line when it is
// there letter by letter. A line that is neither an option nor a comment is returned too.
std::vector<std::string> dropped_options(std::string_view fragment, std::string_view config);

// The value of CONFIG_<name>; empty when it is not set.
std::string_view option_value(std::string_view config, std::string_view name);

// Whether `config` has `CONFIG_<name>=y`.
bool has_option(std::string_view config, std::string_view name);

}  // namespace cleanroom::backends
