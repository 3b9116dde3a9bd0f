#pragma once
// Changes sandbox.image.ref in the text of a cleanroom.yaml and nothing else: comments, layout, quotes and line ends
// stay as they are, byte for byte.
#include "src/base/os/result.h"
#include "src/model/image_reference.h"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace cleanroom::policy {

// What the text names now, a reference without a digest too. nullopt: it names none. policy_invalid when the text is
// not YAML as we read it; image_ref_invalid for what is no reference. Other keys are not judged.
base::Result<std::optional<model::ImageReference>> image_ref_of(std::string_view text);

// `text` with `reference` as its sandbox.image.ref, in the quotes that are there; the keys that lead to it are added
// where they are missing. `reference` is pinned, or image_ref_invalid. What comes back was read again: it says what
// `text` says but for this value, and compiles. policy_invalid when it does not compile for another reason, or is laid
// out in a way that cannot be edited; the hint then has the lines to write by hand.
base::Result<std::string> replace_image_ref(std::string_view text, const model::ImageReference& reference);

// cleanroom.yaml, else .buildkite/cleanroom.yaml below `directory`, as a launch looks it up; policy_missing.
base::Result<std::filesystem::path> find_policy_file(const std::filesystem::path& directory);

// The text of a policy file, whatever it says. Follows links; policy_missing, policy_invalid (no regular file, too
// long).
base::Result<std::string> read_policy_text(const std::filesystem::path& file);

enum class RefChange { written, unchanged };
// replace_image_ref() on a file: the new text takes its place at once or not at all, with its mode, owner and group.
// Through a symbolic link the file that it leads to is changed, and the link stays. Blocks on the disk.
base::Result<RefChange> write_image_ref(const std::filesystem::path& file, const model::ImageReference& reference);

}  // namespace cleanroom::policy
