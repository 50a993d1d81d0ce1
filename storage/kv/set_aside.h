#pragma once
// A damaged store's way out of the way: kept, under another name, so that its node can start empty and be filled by the others.
// Threads: any; blocks on the disk.

#include <filesystem>

#include "src/base/error.h"

namespace kraken::kv {

/// The folder that holds a store: `folder` or `folder`/metadata, whichever has RocksDB's files. kNotFound if neither has.
Result<std::filesystem::path> find_store(const std::filesystem::path& folder);

/// kConflict while a process has the store in `folder` open.
Result<> check_unused(const std::filesystem::path& folder);

/// Renames `folder` to `folder`.set-aside-<time>, durably, and returns the new name; where the folder itself cannot be renamed,
/// being a mount point, its content moves into a folder of that name inside it. Nothing is deleted.
Result<std::filesystem::path> set_aside(const std::filesystem::path& folder);

}  // namespace kraken::kv
