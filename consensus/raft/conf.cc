#include <algorithm>

#include "consensus/raft/core.h"
#include "consensus/raft/quorum.h"
#include "consensus/raft/types.h"

namespace kraken::raft {
namespace {

constexpr char kConfVersion = 2;

void put(std::string& out, uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out.push_back(static_cast<char>((value >> shift) & 0xff));
}

void put_list(std::string& out, const std::vector<ReplicaId>& ids) {
  put(out, ids.size(), 2);
  for (ReplicaId id : ids) put(out, raw(id), 8);
}

struct Reader {
  std::string_view bytes;
  bool ok = true;

  uint64_t take(size_t n) {
    if (bytes.size() < n) {
      ok = false;
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    bytes.remove_prefix(n);
    return value;
  }

  std::vector<ReplicaId> list() {
    const uint64_t count = take(2);
    std::vector<ReplicaId> ids;
    if (!ok || count * 8 > bytes.size()) {
      ok = false;
      return ids;
    }
    ids.reserve(count);
    for (uint64_t i = 0; i < count; i++) ids.push_back(ReplicaId{take(8)});
    return ids;
  }
};

}  // namespace

Bytes encode_conf(const ConfState& conf) {
  std::string out(1, kConfVersion);
  put(out, conf.placement_epoch, 8);
  put(out, conf.next_replica, 8);
  put_list(out, conf.voters);
  put_list(out, conf.outgoing);
  put_list(out, conf.learners);
  put_list(out, conf.learners_next);
  return std::make_shared<const std::string>(std::move(out));
}

std::optional<ConfState> decode_conf(std::string_view bytes) {
  Reader in{bytes};
  if (in.take(1) != kConfVersion || !in.ok) return std::nullopt;
  ConfState conf;
  conf.placement_epoch = in.take(8);
  conf.next_replica = in.take(8);
  conf.voters = in.list();
  conf.outgoing = in.list();
  conf.learners = in.list();
  conf.learners_next = in.list();
  if (!in.ok || !in.bytes.empty() || !well_formed(conf)) return std::nullopt;
  return conf;
}

std::string_view to_string(Reject why) {
  switch (why) {
    case Reject::kNotLeader: return "not leader";
    case Reject::kOverloaded: return "overloaded";
    case Reject::kTransferring: return "leadership is being transferred";
    case Reject::kConfInFlight: return "a configuration change is in flight";
    case Reject::kNoTermCommit: return "no entry of the leader's term is committed yet";
    case Reject::kStaleEpoch: return "stale placement epoch";
    case Reject::kInvalid: return "invalid configuration";
    case Reject::kAborted: return "leadership lost, outcome unknown";
  }
  return "unknown";
}

}  // namespace kraken::raft
