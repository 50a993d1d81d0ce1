#include "consensus/group/requests.h"

#include "src/base/codec.h"

namespace kraken::group {

void encode_request(const Request& request, std::string& out) {
  Writer writer;
  writer.u8(static_cast<std::uint8_t>(request.kind)).u64(request.id).u16(request.shard.value()).u32(request.patience_ms);
  if (request.kind == Request::Kind::kPropose || request.kind == Request::Kind::kOpenSession) {
    const Stamp& stamp = request.stamp;
    writer.raw(stamp.incarnation.view()).u64(stamp.boot_epoch).u64(stamp.session).u64(stamp.sequence).u64(stamp.low);
  }
  writer.bytes(request.body);
  out += writer.str();
}

Result<std::vector<Request>> decode_requests(std::string_view payload) {
  std::vector<Request> requests;
  Reader in(payload);
  while (!in.empty()) {
    Request request;
    const std::uint8_t kind = in.u8();
    request.id = in.u64();
    request.shard = ShardId{in.u16()};
    request.patience_ms = in.u32();
    if (in.ok() && (kind < 1 || kind > 8)) return fail(Code::kProtocol, "request: unknown kind {}", kind);
    request.kind = static_cast<Request::Kind>(kind);
    if (request.kind == Request::Kind::kPropose || request.kind == Request::Kind::kOpenSession) {
      const std::string_view incarnation = in.raw(16);
      if (in.ok()) request.stamp.incarnation = Incarnation::from(incarnation);
      request.stamp.boot_epoch = in.u64();
      request.stamp.session = in.u64();
      request.stamp.sequence = in.u64();
      request.stamp.low = in.u64();
    }
    request.body = in.bytes();
    if (!in.ok()) return fail(Code::kProtocol, "request: cut short");
    requests.push_back(std::move(request));
  }
  return requests;
}

void encode_reply(const Reply& reply, std::string& out) {
  Writer writer;
  writer.u64(reply.id).u8(static_cast<std::uint8_t>(reply.outcome)).u64(raw(reply.hint));
  writer.u8(static_cast<std::uint8_t>(reply.verdict)).u64(reply.index).bytes(reply.result);
  out += writer.str();
}

Result<std::vector<Reply>> decode_replies(std::string_view payload) {
  std::vector<Reply> replies;
  Reader in(payload);
  while (!in.empty()) {
    Reply reply;
    reply.id = in.u64();
    const std::uint8_t outcome = in.u8();
    reply.hint = raft::ReplicaId{in.u64()};
    const std::uint8_t verdict = in.u8();
    reply.index = in.u64();
    reply.result = in.bytes();
    if (!in.ok()) return fail(Code::kProtocol, "reply: cut short");
    if (outcome > static_cast<std::uint8_t>(Reply::Outcome::kNotReplica) ||
        verdict > static_cast<std::uint8_t>(Verdict::kOutOfWindow))
      return fail(Code::kProtocol, "reply: unknown outcome {} or verdict {}", outcome, verdict);
    reply.outcome = static_cast<Reply::Outcome>(outcome);
    reply.verdict = static_cast<Verdict>(verdict);
    replies.push_back(std::move(reply));
  }
  return replies;
}

}  // namespace kraken::group
