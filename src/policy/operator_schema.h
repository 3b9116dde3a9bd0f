#pragma once
// The keys of the operator's files. A key that this build does not honour is refused, never read over.
#include "src/base/text/schema.h"

namespace cleanroom::policy {

const base::Schema& config_schema();       // config.yaml
const base::Schema& ceiling_schema();      // ceiling.yaml
const base::Schema& credentials_schema();  // credentials.yaml, which src/credentials decodes

}  // namespace cleanroom::policy
