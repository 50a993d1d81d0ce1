#pragma once
// The half of `kraken repair` that is about blobs; repair_command.cc has the subcommand and the half about metadata.

#include <cstdint>
#include <string>
#include <vector>

#include "tools/command.h"

namespace kraken::tools {

struct BlobRepairWords {
  std::string origin;
  std::string host = "127.0.0.1";
  std::uint32_t patience_s = 60;
  bool dry_run = false;
  bool offline = false;
  bool apply = false;
  std::string config;
  std::vector<std::string> data;  // LABEL=METADATA,BLOBS
};

/// --origin, --host, --patience, --apply; the other words are shared.
void add_blob_repair_options(CLI::App& repair, BlobRepairWords& words);
int repair_blobs(const BlobRepairWords& words, Output output);

}  // namespace kraken::tools
