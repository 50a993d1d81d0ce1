// What a node finds in its own store at start: entries, hard state, snapshot meta, applied state, envelopes. Any bytes give values or an
// error; a damaged record is never taken for a good one; and what load_log lets through is a log that a Core starts with.

#include "consensus/group/log_store.h"

#include "consensus/group/envelope.h"
#include "consensus/group/identity.h"
#include "storage/kv/memory/memory_store.h"
#include "tests/fuzz/input.h"

using namespace kraken;
using namespace kraken::group;

namespace {

const ShardId kShard{3};

void raw_bytes(std::string_view in) {
  static_cast<void>(decode_entry(kShard, raft::Index{7}, in));
  static_cast<void>(decode_hard_state(kShard, in));
  static_cast<void>(decode_snap_meta(kShard, in));
  static_cast<void>(decode_applied(in));
  static_cast<void>(decode_identity(in));
  static_cast<void>(decode_system_state(in));
  static_cast<void>(decode_recovery_epoch(in));
  static_cast<void>(decode_peer(in));
  if (const auto conf = raft::decode_conf(in)) fuzz::require(raft::decode_conf(*raft::encode_conf(*conf)) == conf);
  if (const auto envelope = decode_envelope(in)) {
    const std::string bytes = encode(*envelope);
    const auto again = decode_envelope(bytes);
    fuzz::require(again && encode(*again) == bytes);
  }
}

/// A record that was written, and then changed in one place, or read back under another key.
void damaged(fuzz::Input& in) {
  const raft::Index index{in.number()};
  const raft::Entry entry = in.entry(index);
  std::string bytes = encode_entry(kShard, entry);
  const auto good = decode_entry(kShard, index, bytes);
  fuzz::require(good && good->term == entry.term && good->kind == entry.kind && good->bytes() == entry.bytes());
  fuzz::require(!decode_entry(ShardId{4}, index, bytes));
  fuzz::require(!decode_entry(kShard, index + 1, bytes));
  const std::size_t at = in.below(bytes.size());
  const std::uint8_t flip = in.byte();
  if (flip == 0) return;
  bytes[at] = static_cast<char>(static_cast<std::uint8_t>(bytes[at]) ^ flip);
  fuzz::require(!decode_entry(kShard, index, bytes));
}

/// A whole log of a shard, mostly sensible.
void whole_log(fuzz::Input& in) {
  kv::MemoryStore store;
  kv::Batch batch;
  const raft::Index base{in.number() >> 2};
  batch.put(kv::Family::kRaft, hard_state_key(kShard), encode_hard_state(kShard, {raft::Term{in.number()}, raft::ReplicaId{in.below(4)}}));
  if (!in.flag()) {
    raft::ConfState conf = in.conf();
    if (in.flag()) conf = {.voters = {raft::ReplicaId{1}}, .outgoing = {}, .learners = {}, .learners_next = {}, .placement_epoch = 0};
    batch.put(kv::Family::kRaft, snap_meta_key(kShard), encode_snap_meta(kShard, {base, raft::Term{in.number()}, conf, 1}));
  }
  batch.put(kv::Family::kSession, applied_key(kShard), encode_applied({base + in.below(4), raft::Term{in.number()}, Duration(1)}));
  raft::Index next = base + 1;
  for (std::uint64_t i = 0, n = in.below(12); i < n; i++) {
    const std::uint8_t odd = in.byte();
    if (odd == 255) next = next + 1;
    batch.put(kv::Family::kRaft, entry_key(kShard, next), odd == 254 ? in.text() : encode_entry(kShard, in.entry(next)));
    next = next + 1;
  }
  fuzz::require(store.write(batch, kv::Durability::kSynced).has_value());
  auto loaded = load_log(store, kShard);
  if (!loaded) return;
  loaded->boot.self = raft::ReplicaId{1};
  const raft::Core core(group_of(kShard), loaded->boot, {}, LoadedTerms(*loaded), 1);
  fuzz::require(core.view().last == loaded->boot.last);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  switch (in.below(4)) {
    case 0: raw_bytes(in.rest()); break;
    case 1: damaged(in); break;
    default: whole_log(in);
  }
  return 0;
}
