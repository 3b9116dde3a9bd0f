#include "src/backends/kernel/kernel_config.h"

#include <map>

namespace cleanroom::backends {
namespace {

// Calls visit(line) for each line of `text`, without its end.
template <class Visit>
void each_line(std::string_view text, const Visit& visit) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    visit(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
}

using Options = std::map<std::string_view, std::string_view>;

Options parse_options(std::string_view config) {
  Options options;
  each_line(config, [&options](std::string_view line) {
    const auto equals = line.find('=');
    if (line.starts_with("CONFIG_") && equals != std::string_view::npos)
      options[line.substr(0, equals)] = line.substr(equals + 1);
  });
  return options;
}

bool holds(const Options& options, std::string_view line) {
  const auto equals = line.find('=');
  if (!line.starts_with("CONFIG_") || equals == std::string_view::npos) return false;
  const auto found = options.find(line.substr(0, equals));
  if (line.substr(equals + 1) == "n") return found == options.end();
  return found != options.end() && found->second == line.substr(equals + 1);
}

}  // namespace

std::vector<std::string> dropped_options(std::string_view fragment, std::string_view config) {
  const Options options = parse_options(config);
  std::vector<std::string> dropped;
  each_line(fragment, [&](std::string_view line) {
    if (line.empty() || line.front() == '#' || holds(options, line)) return;
    dropped.emplace_back(line);
  });
  return dropped;
}

std::string_view option_value(std::string_view config, std::string_view name) {
  const Options options = parse_options(config);
  const std::string key = "CONFIG_" + std::string(name);
  const auto found = options.find(key);
  return found == options.end() ? std::string_view{} : found->second;
}

bool has_option(std::string_view config, std::string_view name) {
  return option_value(config, name) == "y";
}

}  // namespace cleanroom::backends
