#include "consensus/group/identity.h"

#include <algorithm>

#include "consensus/group/mutants.h"
#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

constexpr std::uint8_t kVersion = 3;

std::string key(char what) { return kv::shard_prefix(kv::kNodeShard) + what; }

Result<> check_version(std::uint8_t version, std::string_view what) {
  if (version == kVersion) return {};
  return fail(Code::kUnsupported, "{}: version {}, known is {}; this folder was written by another release", what, version, kVersion);
}

}  // namespace

std::string identity_key() { return key('i'); }
std::string system_copy_key() { return key('t'); }
std::string pledge_key() { return key('g'); }
std::string recovery_key() { return key('r'); }
std::string peer_key(std::string_view label) { return key('p') + std::string(label); }

void begin_start(Identity& identity, std::uint64_t run) {
  if (identity.boot_epoch++ != 0) identity.earlier.insert(identity.earlier.begin(), static_cast<std::uint32_t>(identity.run));
  identity.earlier.resize(std::min(identity.earlier.size(), kEarlierRunsMax));
  identity.run = run;
}

Start judge_start(const PeerMemory& met, const PeerMemory& now, std::span<const std::uint32_t> earlier) {
  if (now.boot_epoch < met.boot_epoch) return Start::kOlder;
  if (now.boot_epoch == met.boot_epoch) return now.run == met.run ? Start::kSame : Start::kTwin;
  if (mutant(Mutant::kForkAccepted)) return Start::kLater;
  const std::uint64_t back = now.boot_epoch - met.boot_epoch;
  if (back > earlier.size()) return Start::kUnknown;
  return earlier[back - 1] == static_cast<std::uint32_t>(met.run) ? Start::kLater : Start::kForked;
}

std::string encode(const Identity& identity) {
  Writer out;
  out.u8(kVersion).bytes(identity.label).u16(identity.shards).raw(identity.incarnation.view()).u64(identity.boot_epoch).u64(identity.run);
  out.u16(static_cast<std::uint16_t>(identity.earlier.size()));
  for (const std::uint32_t run : identity.earlier) out.u32(run);
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
  identity.run = in.u64();
  const std::uint16_t earlier = in.u16();
  if (earlier > kEarlierRunsMax) in.reject();
  for (std::uint16_t i = 0; i < earlier && in.ok(); ++i) identity.earlier.push_back(in.u32());
  KR_CHECK(in.finish("identity"));
  identity.incarnation = Incarnation::from(incarnation);
  return identity;
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
  KR_TRY(const auto copy, view.get(kv::Family::kRaft, system_copy_key()));
  if (copy) {
    KR_TRY(loaded.system, decode_system_state(*copy));
    KR_TRY(auto rows, load_system_state(view));
    if (rows && rows->revision > loaded.system->revision) loaded.system = std::move(rows);
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
