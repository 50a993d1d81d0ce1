// Connections that come and go, and the frames on them.

#include "consensus/group/engine.h"
#include "consensus/group/removal.h"

#include "src/base/log.h"

namespace kraken::group {

void Engine::peer_up(std::size_t peer) {
  now_ = clock_.monotonic();
  PeerOut& out = peer_out_[peer];
  out.coder.forget();
  up_since_[peer] = now_;
  aside_.erase(peer);
  if (told_aside_) send_aside(peer);
  log::info("raft.peer_up", "peer={}", members_[peer].label);
  pledge_to_founder();
  send_state(peer);
  send_report(peer, encode(own_report()));
  for (const ShardId shard : active_) pump(shard);
  schedule_turn();
}

void Engine::peer_down(std::size_t peer) {
  if (stopped_) return;
  now_ = clock_.monotonic();
  log::info("raft.peer_down", "peer={}", members_[peer].label);
  lose([peer](const Try& tried) { return tried.target == peer; });
  for (const auto& group : groups_) {
    if (!group) continue;
    const auto leader = group->core.view().leader;
    if (leader && peer_of(*leader) == peer) step(*group, raft::in::PeerDown{*leader});
  }
  schedule_turn();
}

Result<> Engine::frame(std::size_t peer, FrameKind kind, std::string_view payload) {
  if (stopped_) return {};
  now_ = clock_.monotonic();
  schedule_turn();
  switch (kind) {
    case FrameKind::kMessages: {
      KR_TRY(auto messages, decode_messages(payload));
      return receive(peer, std::move(messages));
    }
    case FrameKind::kBeats: {
      KR_TRY(auto beats, peer_out_[peer].decoder.decode(payload));
      return receive(peer, std::move(beats));
    }
    case FrameKind::kRequests: {
      KR_TRY(auto requests, decode_requests(payload));
      for (Request& request : requests) {
        const std::uint64_t id = request.id;
        serve({.peer = peer, .id = id}, std::move(request));
      }
      return {};
    }
    case FrameKind::kReplies: {
      KR_TRY(auto replies, decode_replies(payload));
      for (Reply& reply : replies) on_reply(std::move(reply));
      return {};
    }
    case FrameKind::kPledge:
      return on_pledge(peer, payload);
    case FrameKind::kSystemState:
      return on_state(peer, payload);
    case FrameKind::kReport:
      return on_report(peer, payload);
    case FrameKind::kDigests:
      return on_digests(peer, payload);
    case FrameKind::kAside:
      return on_aside(peer, payload);
    default:
      return fail(Code::kProtocol, "frame: kind {} does not belong here", static_cast<int>(kind));
  }
}

Result<> Engine::receive(std::size_t peer, std::vector<raft::Message> messages) {
  if (!system_) return {};
  for (raft::Message& message : messages) {
    const raft::Hdr h = raft::header(message);
    // A sender that the ring here does not know yet, or not any more, or that is another node's: nobody can say whose words these are.
    if (peer_of(h.from) != peer) continue;
    // One that asks for votes although it was removed has not heard of it, and who removed it may have forgotten it: whoever knows says so.
    if (Group* knows = std::holds_alternative<raft::VoteReq>(message) && raft::raw(h.group) < groups_.size() ? group_of(group::shard_of(h.group)) : nullptr;
        knows && !knows->stopped && is_removed(knows->core, h.from)) {
      knows->doomed.emplace(h.from, MonotonicTime{});
      tell_doomed(*knows);
    }
    const bool leads = std::holds_alternative<raft::BeatReq>(message) || std::holds_alternative<raft::AppendReq>(message) ||
                       std::holds_alternative<raft::SnapReq>(message);
    Group* group = group_for(h, leads);
    if (!group) continue;
    // Nothing more fits on the disk: this replica falls behind, the others go on.
    if (const auto* append = std::get_if<raft::AppendReq>(&message); append != nullptr && disk_.critical && !append->entries.empty()) continue;
    step(*group, raft::in::Receive{std::move(message)});
    if (leads && group->core.leader() == h.from) group->heard = group->led = now_;
  }
  return {};
}

}  // namespace kraken::group
