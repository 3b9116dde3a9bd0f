#pragma once
// The keys of cleanroom.yaml: the one table behind the reader, `cleanroom policy schema` and docs/policy-reference.md.
#include "src/base/text/schema.h"

namespace cleanroom::policy {

const base::Schema& policy_schema();

}  // namespace cleanroom::policy
