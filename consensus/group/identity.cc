#include "consensus/group/identity.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

constexpr std::uint8_t kVersion = 1;

std::string key(char what) { return kv::shard_prefix(kv::kNodeShard) + what; }

Result<> check_version(std::uint8_t version, std::string_view what) {
  if (version == kVersion) return {};
  return fail(Code::kUnsupported, "{}: version {}, known is {}; this folder was written by another release", what, version, kVersion);
}

}  // namespace

std::string identity_key() { return key('i'); }
std::string table_key() { return key('t'); }
std::string pledge_key() { return key('g'); }
std::string recovery_key() { return key('r'); }
std::string peer_key(std::string_view label) { return key('p') + std::string(label); }

const MemberTable::Row* MemberTable::find(std::string_view label) const {
  const auto row = std::ranges::find(rows, label, &Row::label);
  return row == rows.end() ? nullptr : &*row;
}

const MemberTable::Row* MemberTable::find(raft::ReplicaId replica) const {
  const auto row = std::ranges::find(rows, replica, &Row::replica);
  return row == rows.end() ? nullptr : &*row;
}

std::string encode(const Identity& identity) {
  Writer out;
  out.u8(kVersion).bytes(identity.label).u16(identity.shards).raw(identity.incarnation.view()).u64(identity.boot_epoch);
  return std::move(out).take();
}

Result<Identity> decode_identity(std::string_view bytes) {
  Reader in(bytes);
  KR_CHECK(check_version(in.u8(), "identity"));
  Identity identity;
  identity.label = in.bytes();
  identity.shards = in.u16();
  const std::string_view incarnation = in.raw(16);
  identity.boot_epoch = in.u64();
  KR_CHECK(in.finish("identity"));
  identity.incarnation = Incarnation::from(incarnation);
  return identity;
}

std::string encode(const MemberTable& table) {
  Writer out;
  out.u8(kVersion).raw(table.cluster_id.view()).raw(table.founder.view()).u16(table.shards);
  out.u32(static_cast<std::uint32_t>(table.rows.size()));
  for (const MemberTable::Row& row : table.rows)
    out.bytes(row.label).u64(std::bit_cast<std::uint64_t>(row.weight)).raw(row.incarnation.view()).u64(raw(row.replica));
  return std::move(out).take();
}

Result<MemberTable> decode_table(std::string_view bytes) {
  Reader in(bytes);
  KR_CHECK(check_version(in.u8(), "member table"));
  MemberTable table;
  const std::string_view cluster = in.raw(16);
  const std::string_view founder = in.raw(16);
  table.shards = in.u16();
  const std::uint32_t count = in.count(4 + 8 + 16 + 8);
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    MemberTable::Row row;
    row.label = in.bytes();
    row.weight = std::bit_cast<double>(in.u64());
    const std::string_view incarnation = in.raw(16);
    row.replica = raft::ReplicaId{in.u64()};
    if (!in.ok()) break;
    row.incarnation = Incarnation::from(incarnation);
    if (row.label.empty() || !std::isfinite(row.weight) || row.weight <= 0 || raw(row.replica) == 0 ||
        row.incarnation.empty() || table.find(row.replica) || (!table.rows.empty() && row.label <= table.rows.back().label))
      return fail(Code::kCorrupt, "member table: row {} makes no sense", i);
    table.rows.push_back(std::move(row));
  }
  KR_CHECK(in.finish("member table"));
  if (table.rows.empty()) return fail(Code::kCorrupt, "member table: nobody is in it");
  table.cluster_id = Incarnation::from(cluster);
  table.founder = Incarnation::from(founder);
  return table;
}

std::string encode_recovery_epoch(std::uint64_t epoch) {
  Writer out;
  out.u8(kVersion).u64(epoch);
  return std::move(out).take();
}

Result<std::uint64_t> decode_recovery_epoch(std::string_view bytes) {
  Reader in(bytes);
  KR_CHECK(check_version(in.u8(), "recovery epoch"));
  const std::uint64_t epoch = in.u64();
  KR_CHECK(in.finish("recovery epoch"));
  return epoch;
}

std::string encode(const PeerMemory& memory) {
  Writer out;
  out.u8(kVersion).raw(memory.incarnation.view()).u64(memory.boot_epoch).u64(memory.run);
  return std::move(out).take();
}

Result<PeerMemory> decode_peer(std::string_view bytes) {
  Reader in(bytes);
  KR_CHECK(check_version(in.u8(), "peer"));
  const std::string_view incarnation = in.raw(16);
  PeerMemory memory{.incarnation = {}, .boot_epoch = in.u64(), .run = in.u64()};
  KR_CHECK(in.finish("peer"));
  memory.incarnation = Incarnation::from(incarnation);
  return memory;
}

Result<LoadedIdentity> load_identity(const kv::View& view) {
  LoadedIdentity loaded;
  KR_TRY(const auto identity, view.get(kv::Family::kRaft, identity_key()));
  if (identity) {
    KR_TRY(loaded.identity, decode_identity(*identity));
  }
  KR_TRY(const auto table, view.get(kv::Family::kRaft, table_key()));
  if (table) {
    KR_TRY(loaded.table, decode_table(*table));
  }
  KR_TRY(const auto pledge, view.get(kv::Family::kRaft, pledge_key()));
  if (pledge) {
    if (pledge->size() != 16) return fail(Code::kCorrupt, "pledge: {} bytes", pledge->size());
    loaded.pledge = Incarnation::from(*pledge);
  }
  KR_TRY(const auto epoch, view.get(kv::Family::kRaft, recovery_key()));
  if (epoch) {
    KR_TRY(loaded.recovery_epoch, decode_recovery_epoch(*epoch));
  }
  Result<> decoded;
  const std::string prefix = key('p');
  KR_CHECK(view.scan(kv::Family::kRaft, prefix, kv::after_prefix(prefix), false,
                     [&](std::string_view at, std::string_view value) {
                       auto memory = decode_peer(value);
                       if (!memory) {
                         decoded = std::unexpected(memory.error());
                         return false;
                       }
                       loaded.peers.emplace(at.substr(prefix.size()), *memory);
                       return true;
                     }));
  KR_CHECK(std::move(decoded));
  return loaded;
}

}  // namespace kraken::group
