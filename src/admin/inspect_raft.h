#pragma once
// What src/metadata's describe() cannot know: the rows that the group layer keeps for itself. Threads: pure functions.

#include <optional>
#include <string>
#include <string_view>

#include "src/admin/inspect.h"
#include "src/metadata/state/describe.h"

namespace kraken::admin {

using metadata::state::Described;

/// Family::kRaft and Family::kSession; nullopt for keys of other kinds, which describe() shows as hexadecimal.
std::optional<Described> describe_raft(std::string_view key, std::string_view value);
std::optional<Described> describe_session(std::string_view key, std::string_view value);

}  // namespace kraken::admin
