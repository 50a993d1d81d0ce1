#include "consensus/group/log_store.h"

#include <xxhash.h>

#include "consensus/group/mutants.h"
#include "consensus/group/replica.h"
#include "src/base/assert.h"
#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

using kv::Family;

constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kAppliedVersion = 2;
constexpr char kAbout = '\0';    // keys about the shard
constexpr char kEntries = '\1';  // the log

std::string about_key(ShardId shard, char what) {
  std::string key = kv::shard_prefix(shard);
  key += kAbout;
  key += what;
  return key;
}

/// `record` is what the value says; `what`, shard and index are what its place says.
std::uint64_t checksum(char what, ShardId shard, std::uint64_t index, std::string_view record) {
  Writer place;
  place.u8(static_cast<std::uint8_t>(what)).u16(shard.value()).u64(mutant(Mutant::kEntryUnbound) ? 0 : index);
  const std::uint64_t seed = XXH3_64bits(place.str().data(), place.size());
  return XXH3_64bits_withSeed(record.data(), record.size(), seed);
}

std::string seal(char what, ShardId shard, std::uint64_t index, std::string_view record) {
  Writer out;
  out.u64(checksum(what, shard, index, record)).raw(record);
  return std::move(out).take();
}

Result<std::string_view> unseal(char what, ShardId shard, std::uint64_t index, std::string_view bytes) {
  Reader in(bytes);
  const std::uint64_t expected = in.u64();
  const std::string_view record = in.rest();
  if (!in.ok() || (checksum(what, shard, index, record) != expected && !mutant(Mutant::kEntryUnchecked)))
    return fail(Code::kCorrupt, "shard {}: record '{}' at index {} fails its checksum", shard.value(), what, index);
  return record;
}

constexpr std::string_view kAdvice =
    "This node does not start, since it might contradict what it promised. The other nodes have the data: "
    "`kraken repair --set-aside --data <metadata.path>` moves the folder aside; then start the node with --replace, and it is filled from them";

}  // namespace

std::string hard_state_key(ShardId shard) { return about_key(shard, 'h'); }
std::string snap_meta_key(ShardId shard) { return about_key(shard, 's'); }
std::string applied_key(ShardId shard) { return about_key(shard, 'a'); }
std::string fence_key(ShardId shard) { return about_key(shard, 'f'); }

std::string entry_key(ShardId shard, raft::Index index) {
  Writer out;
  out.u16(shard.value()).u8(static_cast<std::uint8_t>(kEntries)).u64(raw(index));
  return std::move(out).take();
}

std::string entries_end(ShardId shard) {
  std::string key = kv::shard_prefix(shard);
  key += static_cast<char>(kEntries + 1);
  return key;
}

std::string encode_entry(ShardId shard, const raft::Entry& entry) {
  Writer out;
  out.u8(kVersion).u64(raw(entry.term)).u8(static_cast<std::uint8_t>(entry.kind));
  if (entry.data) out.raw(*entry.data);
  return seal('e', shard, raw(entry.index), out.str());
}

Result<raft::Entry> decode_entry(ShardId shard, raft::Index index, std::string_view bytes) {
  KR_TRY(const std::string_view record, unseal('e', shard, raw(index), bytes));
  Reader in(record);
  const std::uint8_t version = in.u8();
  raft::Entry entry{.term = raft::Term{in.u64()}, .index = index, .kind = {}, .data = nullptr};
  const std::uint8_t kind = in.u8();
  const std::string_view data = in.rest();
  KR_CHECK(in.finish("log entry"));
  if (version != kVersion) return fail(Code::kUnsupported, "log entry: version {}, known is {}", version, kVersion);
  if (kind > static_cast<std::uint8_t>(raft::Kind::kConfig)) return fail(Code::kUnsupported, "log entry: kind {}", kind);
  entry.kind = static_cast<raft::Kind>(kind);
  if (!data.empty()) entry.data = std::make_shared<const std::string>(data);
  return entry;
}

std::string encode_hard_state(ShardId shard, const raft::HardState& state) {
  Writer out;
  out.u8(kVersion).u64(raw(state.term)).u64(state.vote && !mutant(Mutant::kVoteNotStored) ? raw(*state.vote) : 0);
  return seal('h', shard, 0, out.str());
}

Result<raft::HardState> decode_hard_state(ShardId shard, std::string_view bytes) {
  KR_TRY(const std::string_view record, unseal('h', shard, 0, bytes));
  Reader in(record);
  const std::uint8_t version = in.u8();
  raft::HardState state{.term = raft::Term{in.u64()}, .vote = std::nullopt};
  const std::uint64_t vote = in.u64();
  KR_CHECK(in.finish("hard state"));
  if (version != kVersion) return fail(Code::kUnsupported, "hard state: version {}, known is {}", version, kVersion);
  if (vote != 0) state.vote = raft::ReplicaId{vote};
  return state;
}

std::string encode_snap_meta(ShardId shard, const raft::SnapMeta& meta) {
  Writer out;
  out.u8(kVersion).u64(raw(meta.index)).u64(raw(meta.term)).u64(meta.snap_id).raw(*raft::encode_conf(meta.conf));
  return seal('s', shard, 0, out.str());
}

Result<raft::SnapMeta> decode_snap_meta(ShardId shard, std::string_view bytes) {
  KR_TRY(const std::string_view record, unseal('s', shard, 0, bytes));
  Reader in(record);
  const std::uint8_t version = in.u8();
  raft::SnapMeta meta{.index = raft::Index{in.u64()}, .term = raft::Term{in.u64()}, .conf = {}, .snap_id = in.u64()};
  auto conf = raft::decode_conf(in.rest());
  KR_CHECK(in.finish("snapshot meta"));
  if (version != kVersion) return fail(Code::kUnsupported, "snapshot meta: version {}, known is {}", version, kVersion);
  if (!conf) return fail(Code::kCorrupt, "snapshot meta of shard {}: malformed configuration", shard.value());
  meta.conf = std::move(*conf);
  return meta;
}

void add_write(ShardId shard, const std::optional<raft::HardState>& hard_state, std::optional<raft::Index> truncate_from,
               const std::vector<raft::Entry>& append, kv::Batch& batch) {
  if (hard_state) batch.put(Family::kRaft, hard_state_key(shard), encode_hard_state(shard, *hard_state));
  if (truncate_from)
    batch.erase_range(Family::kRaft, entry_key(shard, *truncate_from),
                      mutant(Mutant::kTruncateOne) ? entry_key(shard, *truncate_from + 1) : entries_end(shard));
  for (const raft::Entry& entry : append) batch.put(Family::kRaft, entry_key(shard, entry.index), encode_entry(shard, entry));
}

void add_compaction(ShardId shard, raft::Index first, const raft::SnapMeta& meta, kv::Batch& batch) {
  batch.erase_range(Family::kRaft, entry_key(shard, raft::Index{0}), entry_key(shard, first));
  batch.put(Family::kRaft, snap_meta_key(shard), encode_snap_meta(shard, meta));
}

kv::Batch install_rows(ShardId shard, const raft::SnapMeta& meta) {
  kv::Batch batch;
  if (!mutant(Mutant::kInstallKeepsLog)) batch.erase_range(Family::kRaft, entry_key(shard, raft::Index{0}), entries_end(shard));
  batch.erase_range(Family::kRaft, fence_key(shard), fence_key(shard) + '\0');  // the rows are another's now
  batch.put(Family::kRaft, snap_meta_key(shard), encode_snap_meta(shard, meta));
  return batch;
}

std::string encode_fence(ShardId shard, std::string_view why) {
  Writer out;
  out.u8(kVersion).bytes(why);
  return seal('f', shard, 0, out.str());
}

Result<std::string> load_fence(const kv::View& view, ShardId shard) {
  KR_TRY(const auto bytes, view.get(Family::kRaft, fence_key(shard)));
  if (!bytes) return std::string();
  KR_TRY(const std::string_view record, unseal('f', shard, 0, *bytes));
  Reader in(record);
  const std::uint8_t version = in.u8();
  std::string why(in.bytes());
  KR_CHECK(in.finish("fence"));
  if (version != kVersion) return fail(Code::kUnsupported, "fence: version {}, known is {}", version, kVersion);
  return why;
}

std::string encode_applied(const AppliedState& state) {
  Writer out;
  out.u8(kAppliedVersion).u64(raw(state.index)).u64(raw(state.term)).i64((mutant(Mutant::kTimeNotStored) ? 0 : state.now.count()));
  out.u64(state.digest.high).u64(state.digest.low);
  return std::move(out).take();
}

Result<AppliedState> decode_applied(std::string_view bytes) {
  Reader in(bytes);
  const std::uint8_t version = in.u8();
  AppliedState state{.index = raft::Index{in.u64()}, .term = raft::Term{in.u64()}, .now = Duration(in.i64()), .digest = {}};
  if (version > kAppliedVersion)
    return fail(Code::kUnsupported, "applied state: version {}, known is {}", version, kAppliedVersion);
  if (version == kAppliedVersion) state.digest = {.high = in.u64(), .low = in.u64()};  // version 1 had none
  KR_CHECK(in.finish("applied state"));
  return state;
}

Result<AppliedState> load_applied(const kv::View& view, ShardId shard) {
  KR_TRY(const auto bytes, view.get(Family::kSession, applied_key(shard)));
  if (!bytes) return AppliedState{.digest = StateDigest::first()};
  return decode_applied(*bytes);
}

Result<std::vector<raft::Entry>> read_entries(const kv::View& view, ShardId shard, raft::Index lo, raft::Index hi,
                                              std::size_t bytes_max) {
  std::vector<raft::Entry> entries;
  std::size_t bytes = 0;
  Result<> decoded;
  KR_CHECK(view.scan(Family::kRaft, entry_key(shard, lo), entry_key(shard, hi + 1), false,
                     [&](std::string_view key, std::string_view value) {
                       const raft::Index index = lo + entries.size();
                       if (key != entry_key(shard, index)) return false;
                       auto entry = decode_entry(shard, index, value);
                       if (!entry) {
                         decoded = std::unexpected(entry.error());
                         return false;
                       }
                       bytes += entry->bytes();
                       entries.push_back(std::move(*entry));
                       return bytes < bytes_max;
                     }));
  KR_CHECK(std::move(decoded));
  if (entries.empty()) return fail(Code::kCorrupt, "shard {}: log entry {} is missing", shard.value(), raw(lo));
  return entries;
}

namespace {

Result<> load_entries(const kv::View& view, ShardId shard, raft::SnapMeta snap, LoadedLog& log) {
  raft::Term term = snap.term;
  raft::Index next = snap.index + 1;
  Result<> checked;
  KR_CHECK(view.scan(Family::kRaft, entry_key(shard, raft::Index{0}), entries_end(shard), false,
                     [&](std::string_view key, std::string_view value) {
                       checked = [&]() -> Result<> {
                         if (key != entry_key(shard, next))
                           return fail(Code::kCorrupt, "shard {}: the log has a gap or begins wrong: index {} is not there",
                                       shard.value(), raw(next));
                         KR_TRY(const raft::Entry entry, decode_entry(shard, next, value));
                         if (entry.term < term)
                           return fail(Code::kCorrupt, "shard {}: the term goes back at index {}", shard.value(), raw(next));
                         if (entry.kind == raft::Kind::kConfig) {
                           auto conf = raft::decode_conf(entry.data ? std::string_view(*entry.data) : std::string_view());
                           if (!conf)
                             return fail(Code::kCorrupt, "shard {}: malformed configuration at index {}", shard.value(), raw(next));
                           log.boot.confs.push_back({next, std::move(*conf)});
                         }
                         term = entry.term;
                         log.terms.push_back(term);
                         log.bytes.push_back(static_cast<std::uint32_t>(entry.bytes()));
                         return {};
                       }();
                       next = next + 1;
                       return checked.has_value();
                     }));
  return checked;
}

Result<LoadedLog> load(const kv::View& view, ShardId shard) {
  LoadedLog log;
  KR_TRY(const auto snap_bytes, view.get(Family::kRaft, snap_meta_key(shard)));
  raft::SnapMeta snap;
  if (snap_bytes) {
    KR_TRY(snap, decode_snap_meta(shard, *snap_bytes));
  } else {
    // A replica that was made by a message and has not got its first snapshot yet: its log is empty, and begins nowhere.
    KR_TRY(const auto replica, load_replica(view, shard));
    if (!replica) return fail(Code::kCorrupt, "shard {}: the record where its log begins is missing", shard.value());
  }
  KR_TRY(const auto hard_state, view.get(Family::kRaft, hard_state_key(shard)));
  if (hard_state) {
    KR_TRY(log.boot.hs, decode_hard_state(shard, *hard_state));
  }
  log.boot.conf = snap.conf;
  log.boot.snap_index = snap.index;
  log.boot.snap_term = snap.term;
  log.boot.first = snap.index + 1;
  KR_CHECK(load_entries(view, shard, snap, log));
  log.boot.last = snap.index + log.terms.size();
  const raft::Term last_term = log.terms.empty() ? snap.term : log.terms.back();
  if (last_term > log.boot.hs.term)
    return fail(Code::kCorrupt, "shard {}: the log's last term {} is above the hard state's {}", shard.value(), raw(last_term),
                raw(log.boot.hs.term));
  KR_TRY(log.applied, load_applied(view, shard));
  KR_TRY(log.fence, load_fence(view, shard));
  log.boot.applied = log.applied.index;
  if (log.applied.index < snap.index || log.applied.index > log.boot.last)
    return fail(Code::kCorrupt, "shard {}: applied is {}, but the log on disk is [{}, {}]", shard.value(),
                raw(log.applied.index), raw(log.boot.first), raw(log.boot.last));
  return log;
}

}  // namespace

Result<LoadedLog> load_log(const kv::View& view, ShardId shard) {
  auto log = load(view, shard);
  if (!log && log.error().code == Code::kCorrupt)
    return fail(Code::kCorrupt, "{}. {}", log.error().detail, kAdvice);
  return log;
}

std::optional<raft::Term> LoadedTerms::term_at(raft::Index index) const {
  if (index < log_.boot.first || index > log_.boot.last) return std::nullopt;
  return log_.terms[raft::distance(log_.boot.first, index)];
}

}  // namespace kraken::group
