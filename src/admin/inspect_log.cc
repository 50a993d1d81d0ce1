// The families of the group layer, decoded: a shard's log, hard state and snapshot meta, and the node's identity.

#include <map>

#include "consensus/group/envelope.h"
#include "consensus/group/identity.h"
#include "consensus/group/log_store.h"
#include "consensus/group/replica.h"
#include "src/admin/inspect_raft.h"
#include "src/base/codec.h"
#include "src/base/hex.h"
#include "src/metadata/state/describe.h"
#include "storage/kv/keys.h"

namespace kraken::admin {
namespace {

/// "origin1", or the number where the ring does not have it.
std::string name_of(const std::optional<group::SystemState>& system, raft::ReplicaId replica) {
  if (system) {
    if (const auto* row = system->member(raft::member_of(replica)); row != nullptr) return row->label;
  }
  return fmt::format("replica {}/{}", raft::member_of(replica), raft::sequence_of(replica));
}

std::string names_of(const std::optional<group::SystemState>& system, const std::vector<raft::ReplicaId>& replicas) {
  std::string out;
  for (const raft::ReplicaId replica : replicas) out += (out.empty() ? "" : ",") + name_of(system, replica);
  return out;
}

std::string conf_text(const std::optional<group::SystemState>& system, const raft::ConfState& conf) {
  std::string out = "voters=" + names_of(system, conf.voters);
  if (!conf.outgoing.empty()) out += " outgoing=" + names_of(system, conf.outgoing);
  if (!conf.learners.empty()) out += " learners=" + names_of(system, conf.learners);
  return out;
}

std::string system_text(const group::SystemState& system) {
  std::string rows;
  for (const group::RingNode& row : system.nodes)
    rows += fmt::format(" {}={}/{}{}", row.label, row.member, row.incarnation.hex(),
                        row.active() ? "" : row.state == group::NodeState::kLeaving ? "/leaving" : "/dead");
  return fmt::format("cluster={} shards={} epoch={}{}", system.cluster_id.hex(), system.shards, system.epoch, rows);
}

std::string_view kind_of(raft::Kind kind) {
  switch (kind) {
    case raft::Kind::kNoop: return "no_op";
    case raft::Kind::kData: return "data";
    case raft::Kind::kConfig: return "config";
  }
  return "unknown";
}

std::string command_text(std::string_view command) {
  if (command.empty() || command.front() != group::kSystemMark) return metadata::state::describe_command(command);
  const auto decoded = group::decode_system_command(command);
  if (!decoded) return decoded.error().detail;
  if (const auto* adopt = std::get_if<group::AdoptRing>(&*decoded)) return fmt::format("adopt_ring after={} nodes={}", adopt->prev_epoch, adopt->nodes.size());
  if (const auto* replace = std::get_if<group::Replace>(&*decoded)) return fmt::format("replace {}", replace->label);
  const auto& satisfied = std::get<group::Satisfied>(*decoded);
  return fmt::format("satisfied epoch={} shard={}", satisfied.epoch, satisfied.shard.value());
}

std::string entry_text(const std::optional<group::SystemState>& system, const raft::Entry& entry) {
  const std::string_view bytes = entry.data ? std::string_view(*entry.data) : std::string_view{};
  switch (entry.kind) {
    case raft::Kind::kNoop: return "";
    case raft::Kind::kConfig: {
      const auto conf = raft::decode_conf(bytes);
      return conf ? conf_text(system, *conf) : "not a configuration: " + to_hex(bytes);
    }
    case raft::Kind::kData: break;
  }
  const auto envelope = group::decode_envelope(bytes);
  if (!envelope) return fmt::format("not an envelope ({}): {}", envelope.error().detail, to_hex(bytes.substr(0, 64)));
  const std::string from = envelope->stamp.incarnation.hex().substr(0, 8);
  if (envelope->kind == group::Envelope::Kind::kOpenSession) return fmt::format("open_session node={} boot={}", from, envelope->stamp.boot_epoch);
  return fmt::format("{} | node={} session={} sequence={}", command_text(envelope->command), from,
                     envelope->stamp.session, envelope->stamp.sequence);
}

/// First and last index in the log; 0 and 0 where it is empty.
Result<std::pair<std::uint64_t, std::uint64_t>> bounds(const kv::View& view, kv::ShardId shard) {
  const std::string from = group::entry_key(shard, raft::Index{0});
  const std::string to = group::entries_end(shard);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  // The index is the last eight bytes of the key.
  const auto index_of = [](std::string_view key) { return Reader(key.substr(key.size() - std::min<std::size_t>(8, key.size()))).u64(); };
  KR_CHECK(view.scan(kv::Family::kRaft, from, to, false, [&](std::string_view key, std::string_view) {
    first = index_of(key);
    return false;
  }));
  KR_CHECK(view.scan(kv::Family::kRaft, from, to, true, [&](std::string_view key, std::string_view) {
    last = index_of(key);
    return false;
  }));
  return std::pair(first, last);
}

}  // namespace

Result<std::vector<LogEntry>> inspect_log(const kv::View& view, kv::ShardId shard, std::uint64_t from, std::uint32_t limit) {
  KR_TRY(const auto identity, group::load_identity(view));
  std::vector<LogEntry> out;
  KR_CHECK(view.scan(kv::Family::kRaft, group::entry_key(shard, raft::Index{from}), group::entries_end(shard), false,
                     [&](std::string_view key, std::string_view value) {
                       if (out.size() >= std::min(limit, kInspectRowsMax)) return false;
                       const std::uint64_t index = Reader(key.substr(key.size() - 8)).u64();
                       LogEntry row{.index = index, .term = 0, .kind = "damaged", .text = {}, .bytes = value.size()};
                       if (const auto entry = group::decode_entry(shard, raft::Index{index}, value); entry) {
                         row.term = raw(entry->term);
                         row.kind = kind_of(entry->kind);
                         row.bytes = entry->bytes();
                         row.text = entry_text(identity.system, *entry);
                       } else {
                         row.text = entry.error().detail;
                       }
                       out.push_back(std::move(row));
                       return true;
                     }));
  return out;
}

Result<Vote> inspect_vote(const kv::View& view, kv::ShardId shard) {
  KR_TRY(const auto identity, group::load_identity(view));
  Vote vote;
  KR_TRY(const auto hard_state, view.get(kv::Family::kRaft, group::hard_state_key(shard)));
  if (!hard_state) {
    return fail(Code::kNotFound, "this node has no replica of shard {}; `kraken status -o json` shows who has", shard.value());
  }
  KR_TRY(const raft::HardState state, group::decode_hard_state(shard, *hard_state));
  vote.term = raw(state.term);
  if (state.vote) vote.voted_for = name_of(identity.system, *state.vote);
  KR_TRY(const auto snap_bytes, view.get(kv::Family::kRaft, group::snap_meta_key(shard)));
  if (snap_bytes) {
    KR_TRY(const raft::SnapMeta meta, group::decode_snap_meta(shard, *snap_bytes));
    vote.snapshot = fmt::format("index={} term={} {}", raw(meta.index), raw(meta.term), conf_text(identity.system, meta.conf));
  }
  KR_TRY(const group::AppliedState applied, group::load_applied(view, shard));
  vote.applied = raw(applied.index);
  KR_TRY(const auto ends, bounds(view, shard));
  vote.first = ends.first;
  vote.last = ends.second;
  return vote;
}

std::optional<Described> describe_raft(std::string_view key, std::string_view value) {
  const kv::ShardId shard = kv::shard_of_key(key);
  const auto told = [](std::string name, const auto& decoded, const auto& text) {
    return Described{std::move(name), decoded ? text(*decoded) : decoded.error().detail};
  };
  if (key == group::identity_key()) {
    return told("raft node identity", group::decode_identity(value), [](const group::Identity& identity) {
      return fmt::format("label={} shards={} incarnation={} boot={}", identity.label, identity.shards, identity.incarnation.hex(), identity.boot_epoch);
    });
  }
  if (key == group::system_copy_key()) {
    return told("raft node system_copy", group::decode_system_state(value), [](const group::SystemState& system) { return system_text(system); });
  }
  if (shard == kv::kNodeShard) {
    if (key.size() > 3 && key == group::peer_key(key.substr(3))) {
      return told(fmt::format("raft node peer {}", key.substr(3)), group::decode_peer(value), [](const group::PeerMemory& peer) {
        return fmt::format("incarnation={} boot={}", peer.incarnation.hex(), peer.boot_epoch);
      });
    }
    return std::nullopt;
  }
  if (key == group::hard_state_key(shard)) {
    return told(fmt::format("raft shard={} hard_state", shard.value()), group::decode_hard_state(shard, value), [](const raft::HardState& state) {
      return fmt::format("term={} vote={}", raw(state.term), state.vote ? name_of(std::nullopt, *state.vote) : "none");
    });
  }
  if (key == group::snap_meta_key(shard)) {
    return told(fmt::format("raft shard={} snapshot", shard.value()), group::decode_snap_meta(shard, value),
                [](const raft::SnapMeta& meta) { return fmt::format("index={} term={}", raw(meta.index), raw(meta.term)); });
  }
  if (key == group::fence_key(shard)) return Described{fmt::format("raft shard={} fence", shard.value()), std::string(value.substr(std::min<std::size_t>(value.size(), 13)))};
  if (key == group::replica_key(shard)) return Described{fmt::format("raft shard={} replica", shard.value()), to_hex(value)};
  if (key == group::tombstone_key(shard)) return Described{fmt::format("raft shard={} tombstone", shard.value()), to_hex(value)};
  if (key.size() < 8) return std::nullopt;
  const std::uint64_t index = Reader(key.substr(key.size() - 8)).u64();
  if (key != group::entry_key(shard, raft::Index{index})) return std::nullopt;
  return told(fmt::format("raft shard={} entry {}", shard.value(), index), group::decode_entry(shard, raft::Index{index}, value), [](const raft::Entry& entry) {
    return fmt::format("term={} kind={} {}", raw(entry.term), kind_of(entry.kind), entry_text(std::nullopt, entry));
  });
}

std::optional<Described> describe_session(std::string_view key, std::string_view value) {
  const kv::ShardId shard = kv::shard_of_key(key);
  if (key == group::system_state_key()) {
    const auto system = group::decode_system_state(value);
    return Described{"session shard=0 system_state", system ? system_text(*system) : system.error().detail};
  }
  if (key != group::applied_key(shard)) return std::nullopt;
  const auto applied = group::decode_applied(value);
  if (!applied) return Described{fmt::format("session shard={} applied", shard.value()), applied.error().detail};
  return Described{fmt::format("session shard={} applied", shard.value()),
                   fmt::format("index={} term={} time={:.3f}s digest={}", raw(applied->index), raw(applied->term),
                               std::chrono::duration<double>(applied->now).count(), applied->digest.known() ? applied->digest.hex() : "unknown")};
}

Result<std::string> node_incarnation(const kv::View& view) {
  KR_TRY(const auto loaded, group::load_identity(view));
  return loaded.identity ? loaded.identity->incarnation.hex() : std::string{};
}

}  // namespace kraken::admin
