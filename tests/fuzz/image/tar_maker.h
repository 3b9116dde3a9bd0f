#pragma once
// Archives out of choices: headers of every dialect with a right checksum, so that a fuzzer gets behind it.
#include <fuzzer/FuzzedDataProvider.h>

#include <string>

namespace cleanroom::fuzz {

std::string make_tar(FuzzedDataProvider& input);
// Gives each header of `tar` that a reader would come to the right checksum.
void mend_checksums(std::string& tar);

}  // namespace cleanroom::fuzz
