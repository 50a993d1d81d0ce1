// kBeats: what makes 128 idle groups cost two bytes a beat instead of 45.

#include "consensus/group/frame.h"
#include "src/base/assert.h"
#include "src/base/codec.h"

namespace kraken::group {
namespace {

// A beat's flags: what differs from the last one of the same group and kind on this connection.
constexpr std::uint8_t kIsResponse = 1;
constexpr std::uint8_t kReplicas = 2;  // from and to follow
constexpr std::uint8_t kTerm = 4;
constexpr std::uint8_t kIndex = 8;
constexpr std::uint8_t kReadSeq = 16;  // not the last one plus one
constexpr std::uint8_t kGroupFar = 32;  // the group is not the previous one plus one (plus one byte or more)
constexpr std::uint8_t kKnown = 63;

void varint(Writer& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.u8(static_cast<std::uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.u8(static_cast<std::uint8_t>(value));
}

std::uint64_t varint(Reader& in) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const std::uint8_t byte = in.u8();
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  in.reject();
  return 0;
}

}  // namespace

BeatCoder::Last& BeatCoder::last_of(bool response, std::uint32_t group) {
  std::vector<Last>& known = last_[response ? 1 : 0];
  if (group >= known.size()) known.resize(group + 1);
  return known[group];
}

std::string BeatCoder::encode(const std::vector<raft::Message>& beats) {
  Writer out;
  std::uint32_t previous = 0;
  for (const raft::Message& message : beats) {
    const auto* request = std::get_if<raft::BeatReq>(&message);
    const auto* response = std::get_if<raft::BeatResp>(&message);
    KR_ASSERT(request != nullptr || response != nullptr);
    const raft::Hdr& h = raft::header(message);
    const raft::Index index = request ? request->commit : response->match;
    const raft::Seq read_seq = request ? request->read_seq : response->read_seq;
    Last& last = last_of(response != nullptr, raw(h.group));
    const bool first = !last.known;
    std::uint8_t flags = response ? kIsResponse : 0;
    if (first) flags |= kReplicas | kTerm | kIndex | kReadSeq;
    if (last.from != h.from || last.to != h.to) flags |= kReplicas;
    if (last.term != h.term) flags |= kTerm;
    if (last.index != index) flags |= kIndex;
    if (last.read_seq + 1 != read_seq) flags |= kReadSeq;
    if (raw(h.group) != previous + 1) flags |= kGroupFar;
    out.u8(flags);
    if (flags & kGroupFar) varint(out, raw(h.group));
    if (flags & kReplicas) out.u64(raw(h.from)).u64(raw(h.to));
    if (flags & kTerm) varint(out, raw(h.term));
    if (flags & kIndex) varint(out, raw(index));
    if (flags & kReadSeq) varint(out, read_seq);
    last = {.from = h.from, .to = h.to, .term = h.term, .index = index, .read_seq = read_seq, .known = true};
    previous = raw(h.group);
  }
  return std::move(out).take();
}

Result<std::vector<raft::Message>> BeatCoder::decode(std::string_view payload) {
  std::vector<raft::Message> beats;
  Reader in(payload);
  std::uint32_t previous = 0;
  while (!in.empty()) {
    const std::uint8_t flags = in.u8();
    if (flags > kKnown) return fail(Code::kProtocol, "beat: unknown flags {}", flags);
    const std::uint64_t group = flags & kGroupFar ? varint(in) : std::uint64_t{previous} + 1;
    // Groups are 16 bits wide, so that a peer cannot make what is remembered grow without end.
    if (group > 0xffff) return fail(Code::kProtocol, "beat: group {}", group);
    previous = static_cast<std::uint32_t>(group);
    Last& last = last_of((flags & kIsResponse) != 0, previous);
    if (flags & kReplicas) {
      last.from = raft::ReplicaId{in.u64()};
      last.to = raft::ReplicaId{in.u64()};
    }
    if (flags & kTerm) last.term = raft::Term{varint(in)};
    if (flags & kIndex) last.index = raft::Index{varint(in)};
    last.read_seq = flags & kReadSeq ? varint(in) : last.read_seq + 1;
    if (!in.ok()) return fail(Code::kProtocol, "beat: cut short");
    if (raw(last.from) == 0 || raw(last.to) == 0) return fail(Code::kProtocol, "beat: replica 0");
    const raft::Hdr h{.group = raft::GroupId{previous}, .from = last.from, .to = last.to, .term = last.term};
    if (flags & kIsResponse) {
      beats.emplace_back(raft::BeatResp{.h = h, .match = last.index, .read_seq = last.read_seq});
    } else {
      beats.emplace_back(raft::BeatReq{.h = h, .commit = last.index, .read_seq = last.read_seq});
    }
  }
  return beats;
}

}  // namespace kraken::group
