#include <cstdlib>

#include "src/base/hex.h"
#include "src/base/log.h"
#include "src/metadata/state/applier.h"

namespace kraken::metadata::state {

void unreadable(kv::Family family, std::string_view key, const Error& error) {
  log::error("metadata.row_unreadable",
             "family={} key={} error=\"{}\" advice=\"move this node's metadata folder aside "
             "and let it join again; the other nodes have the data\"",
             kv::name(family), to_hex(key), error.to_string());
  std::_Exit(70);
}

Outcome Applier::run(const Command& command, std::size_t command_bytes) {
  out_ = {};
  out_.index = at_.index;
  out_.now = at_.now;
  const auto* repository = sharded_by_repository(command);
  if (repository != nullptr && repository->str().empty())
    malformed("no repository");
  else if (std::holds_alternative<PeerBatch>(command) && command_bytes > kPeerBatchBytesMax)
    malformed(fmt::format("a peer batch of {} bytes", command_bytes));
  else
    std::visit([this](const auto& c) { on(c); }, command);
  return std::move(out_);
}

bool Applier::any(kv::Family family, const keys::Range& range) const {
  bool found = false;
  const auto scanned = rows_.scan(family, range.from, range.to, false, [&found](std::string_view, std::string_view) {
    found = true;
    return false;
  });
  if (!scanned) unreadable(family, range.from, scanned.error());
  return found;
}

void Applier::on(const Tick&) {}

}  // namespace kraken::metadata::state
