#pragma once
// Variables by which the C library, OpenSSL and others take instructions. Under Buildkite a pipeline's `env:` reaches
// this process, and a pipeline must not choose which authorities we trust or where names lead.

namespace cleanroom::base {

// Removes them from this process's environment; children that are given one are not concerned. Call once, before other
// threads start.
void forget_library_variables();

}  // namespace cleanroom::base
