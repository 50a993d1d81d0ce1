#include "consensus/group/frame.h"

#include <xxhash.h>

#include "consensus/group/mutants.h"
#include "src/base/assert.h"
#include "src/base/codec.h"

namespace kraken::group {
namespace {

using raft::Message;

constexpr std::uint16_t kMagic = 0x4b4e;  // "KN"

enum class Tag : std::uint8_t {
  kVoteReq = 1,
  kVoteResp = 2,
  kAppendReq = 3,
  kAppendResp = 4,
  kBeatReq = 5,
  kBeatResp = 6,
  kSnapReq = 7,
  kSnapResp = 8,
  kTimeoutNow = 9,
};

std::uint64_t checksum(std::string_view header8, std::string_view payload) {
  Reader in(header8);
  return XXH3_64bits_withSeed(payload.data(), payload.size(), in.u64());
}

/// CRC-8 (polynomial 0x2f) over a header's magic, version, kind and length. A length that had one bit flipped upwards would
/// swallow the connection's next frames, megabytes of them, before the payload's sum could tell: any three flipped bits are seen here.
std::uint8_t header_check(std::string_view header) {
  unsigned crc = 0xff;
  for (const std::size_t at : {0u, 1u, 2u, 3u, 5u, 6u, 7u}) {
    crc ^= static_cast<unsigned char>(header[at]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ ((crc & 0x80) != 0 ? 0x12fu : 0u);
  }
  return static_cast<std::uint8_t>(crc);
}

struct Encoder {
  Writer& out;

  void header(Tag tag, const raft::Hdr& h) {
    out.u8(static_cast<std::uint8_t>(tag)).u32(raw(h.group)).u64(raw(h.from)).u64(raw(h.to)).u64(raw(h.term));
  }
  void operator()(const raft::VoteReq& m) {
    header(Tag::kVoteReq, m.h);
    out.u64(raw(m.last_index)).u64(raw(m.last_term)).boolean(m.pre).boolean(m.transfer);
  }
  void operator()(const raft::VoteResp& m) {
    header(Tag::kVoteResp, m.h);
    out.boolean(m.pre).boolean(m.granted);
  }
  void operator()(const raft::AppendReq& m) {
    header(Tag::kAppendReq, m.h);
    out.u64(raw(m.prev_index)).u64(raw(m.prev_term)).u64(raw(m.commit)).u64(m.read_seq);
    out.u32(static_cast<std::uint32_t>(m.entries.size()));
    for (const raft::Entry& entry : m.entries) {
      out.u64(raw(entry.term)).u8(static_cast<std::uint8_t>(entry.kind));
      out.bytes(entry.data ? std::string_view(*entry.data) : std::string_view());
    }
  }
  void operator()(const raft::AppendResp& m) {
    header(Tag::kAppendResp, m.h);
    out.boolean(m.ok).u64(raw(m.match)).u64(raw(m.hint_index)).u64(raw(m.hint_term)).u64(m.read_seq);
  }
  void operator()(const raft::BeatReq& m) {
    header(Tag::kBeatReq, m.h);
    out.u64(raw(m.commit)).u64(m.read_seq);
  }
  void operator()(const raft::BeatResp& m) {
    header(Tag::kBeatResp, m.h);
    out.u64(raw(m.match)).u64(m.read_seq);
  }
  void operator()(const raft::SnapReq& m) {
    header(Tag::kSnapReq, m.h);
    const raft::Bytes conf = raft::encode_conf(m.meta.conf);
    out.u64(raw(m.meta.index)).u64(raw(m.meta.term)).u64(m.meta.snap_id).bytes(*conf);
  }
  void operator()(const raft::SnapResp& m) {
    header(Tag::kSnapResp, m.h);
    out.u64(m.snap_id).boolean(m.ok);
  }
  void operator()(const raft::TimeoutNow& m) { header(Tag::kTimeoutNow, m.h); }
};

/// Entries follow prev_index without a gap by construction; their terms must not go back, nor their indexes wrap.
bool read_entries(Reader& in, raft::AppendReq& m) {
  const std::uint32_t count = in.count(8 + 1 + 4);
  if (!in.ok() || raw(m.prev_index) > ~std::uint64_t{0} - count - 1) return false;
  m.entries.reserve(count);
  raft::Term term = m.prev_term;
  for (std::uint32_t i = 0; i < count; ++i) {
    raft::Entry entry;
    entry.term = raft::Term{in.u64()};
    entry.index = m.prev_index + (i + 1);
    const std::uint8_t kind = in.u8();
    const std::string_view data = in.bytes();
    if (!in.ok() || kind > static_cast<std::uint8_t>(raft::Kind::kConfig) || entry.term < term || entry.term > m.h.term)
      return false;
    entry.kind = static_cast<raft::Kind>(kind);
    term = entry.term;
    if (!data.empty()) entry.data = std::make_shared<const std::string>(data);
    m.entries.push_back(std::move(entry));
  }
  return true;
}

Result<Message> read_message(Reader& in) {
  const auto tag = static_cast<Tag>(in.u8());
  raft::Hdr h;
  h.group = raft::GroupId{in.u32()};
  h.from = raft::ReplicaId{in.u64()};
  h.to = raft::ReplicaId{in.u64()};
  h.term = raft::Term{in.u64()};
  if (in.ok() && (raw(h.from) == 0 || raw(h.to) == 0)) return fail(Code::kProtocol, "message: replica 0");
  const auto index = [&] { return raft::Index{in.u64()}; };
  const auto term = [&] { return raft::Term{in.u64()}; };
  Message message;
  switch (tag) {
    case Tag::kVoteReq: {
      raft::VoteReq m{.h = h, .last_index = index(), .last_term = term()};
      m.pre = in.boolean();
      m.transfer = in.boolean();
      message = m;
      break;
    }
    case Tag::kVoteResp: {
      raft::VoteResp m{.h = h, .pre = in.boolean()};
      m.granted = in.boolean();
      message = m;
      break;
    }
    case Tag::kAppendReq: {
      raft::AppendReq m{.h = h, .prev_index = index(), .prev_term = term(), .commit = index(), .entries = {}};
      m.read_seq = in.u64();
      if (!read_entries(in, m)) return fail(Code::kProtocol, "message: malformed entries");
      message = std::move(m);
      break;
    }
    case Tag::kAppendResp: {
      raft::AppendResp m{.h = h, .ok = in.boolean(), .match = index(), .hint_index = index(), .hint_term = term()};
      m.read_seq = in.u64();
      message = m;
      break;
    }
    case Tag::kBeatReq: {
      raft::BeatReq m{.h = h, .commit = index()};
      m.read_seq = in.u64();
      message = m;
      break;
    }
    case Tag::kBeatResp: {
      raft::BeatResp m{.h = h, .match = index()};
      m.read_seq = in.u64();
      message = m;
      break;
    }
    case Tag::kSnapReq: {
      raft::SnapReq m{.h = h, .meta = {.index = index(), .term = term(), .conf = {}, .snap_id = in.u64()}};
      auto conf = raft::decode_conf(in.bytes());
      if (!conf) return fail(Code::kProtocol, "message: malformed configuration");
      m.meta.conf = std::move(*conf);
      message = std::move(m);
      break;
    }
    case Tag::kSnapResp: {
      raft::SnapResp m{.h = h, .snap_id = in.u64()};
      m.ok = in.boolean();
      message = m;
      break;
    }
    case Tag::kTimeoutNow:
      message = raft::TimeoutNow{h};
      break;
    default:
      return fail(Code::kProtocol, "message: unknown kind {}", static_cast<int>(tag));
  }
  if (!in.ok()) return fail(Code::kProtocol, "message: cut short");
  return message;
}

}  // namespace

void append_frame(FrameKind kind, std::string_view payload, std::string& out) {
  KR_ASSERT(payload.size() <= kFrameBytesMax);
  Writer start;
  start.u16(kMagic).u8(kFrameVersion).u8(static_cast<std::uint8_t>(kind));
  const auto length = static_cast<std::uint32_t>(payload.size());
  const std::uint32_t check = header_check(Writer(start).u32(length).str());
  Writer header = start;
  header.u32(check << 24 | length);
  header.u64(checksum(header.str(), payload));
  out.reserve(out.size() + kFrameHeaderBytes + payload.size());
  out += header.str();
  out += payload;
}

Result<FrameHeader> decode_frame_header(std::string_view bytes) {
  KR_ASSERT(bytes.size() >= kFrameHeaderBytes);
  const bool checks = static_cast<std::uint8_t>(bytes[4]) == header_check(bytes.substr(0, 8));
  Reader in(bytes.substr(0, kFrameHeaderBytes));
  if (in.u16() != kMagic) return fail(Code::kProtocol, "frame: these bytes are not of a Kraken node");
  const std::uint8_t version = in.u8();
  if (version != kFrameVersion) return fail(Code::kProtocol, "frame: version {}, known is {}", version, kFrameVersion);
  const std::uint8_t kind = in.u8();
  if (kind < static_cast<std::uint8_t>(FrameKind::kHello) || kind > static_cast<std::uint8_t>(FrameKind::kReport))
    return fail(Code::kProtocol, "frame: unknown kind {}", kind);
  FrameHeader header{.kind = static_cast<FrameKind>(kind), .bytes = in.u32()};
  header.checksum = in.u64();
  header.bytes &= 0xffffff;  // above it stands the check
  if (!checks) return fail(Code::kProtocol, "frame: the header does not match its check");
  if (header.bytes > kFrameBytesMax)
    return fail(Code::kProtocol, "frame: {} bytes, at most {} are allowed", header.bytes, kFrameBytesMax);
  return header;
}

Result<std::optional<Frame>> next_frame(std::string_view in) {
  if (in.size() < kFrameHeaderBytes) return std::nullopt;
  KR_TRY(const FrameHeader header, decode_frame_header(in));
  if (in.size() - kFrameHeaderBytes < header.bytes) return std::nullopt;
  const std::string_view payload = in.substr(kFrameHeaderBytes, header.bytes);
  if (checksum(in.substr(0, 8), payload) != header.checksum && !mutant(Mutant::kFrameUnchecked)) return fail(Code::kProtocol, "frame: wrong checksum");
  return Frame{.kind = header.kind, .payload = payload, .used = kFrameHeaderBytes + header.bytes};
}

void encode_message(const Message& message, std::string& out) {
  Writer writer;
  std::visit(Encoder{writer}, message);
  out += writer.str();
}

Result<std::vector<Message>> decode_messages(std::string_view payload) {
  std::vector<Message> messages;
  Reader in(payload);
  while (!in.empty()) {
    KR_TRY(Message message, read_message(in));
    messages.push_back(std::move(message));
  }
  return messages;
}

}  // namespace kraken::group
