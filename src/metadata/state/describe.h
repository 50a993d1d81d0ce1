#pragma once
// Keys and values of the metadata's families as lines for people (`kraken inspect`). Total: bytes that do not decode
// are shown as hex with the error. Threads: pure functions.

#include <string>
#include <string_view>

#include "storage/kv/family.h"

namespace kraken::metadata::state {

struct Described {
  std::string key;    // "tag shard=7 library/app:v1"
  std::string value;  // "digest=sha256:.. revision=12 time=3600.000s"
};

Described describe(kv::Family family, std::string_view key, std::string_view value);
/// "put_manifest library/app ...": a command in a log entry.
std::string describe_command(std::string_view bytes);

}  // namespace kraken::metadata::state
