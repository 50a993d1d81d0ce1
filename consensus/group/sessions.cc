#include "consensus/group/sessions.h"

#include <algorithm>

#include "consensus/group/mutants.h"
#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

using kv::Family;

constexpr std::uint8_t kVersion = 1;
constexpr char kSessions = '\1';
constexpr char kResults = '\2';

std::string session_key(ShardId shard, const Incarnation& incarnation) {
  std::string key = kv::shard_prefix(shard);
  key += kSessions;
  key += incarnation.view();
  return key;
}

std::string result_key(ShardId shard, const Incarnation& incarnation, std::uint64_t sequence) {
  Writer out;
  out.u16(shard.value()).u8(static_cast<std::uint8_t>(kResults)).raw(incarnation.view()).u64(sequence);
  return std::move(out).take();
}

}  // namespace

Result<> Sessions::load(ShardId id, const kv::View& rows) {
  Shard shard;
  Result<> read;
  const std::string first = kv::shard_prefix(id) + kSessions;
  KR_CHECK(rows.scan(Family::kSession, first, kv::after_prefix(first), false, [&](std::string_view key, std::string_view value) {
    Reader at(key.substr(first.size()));
    const std::string_view incarnation = at.raw(16);
    Reader in(value);
    const std::uint8_t version = in.u8();
    Session session;
    session.boot_epoch = in.u64();
    session.id = in.u64();
    session.low = in.u64();
    session.used = Duration(in.i64());
    read = in.finish("session");
    if (read) read = at.finish("session key");
    if (read && version != kVersion) read = fail(Code::kUnsupported, "session: version {}, known is {}", version, kVersion);
    if (read) shard.emplace(Incarnation::from(incarnation), std::move(session));
    return read.has_value();
  }));
  KR_CHECK(std::move(read));
  const std::string results = kv::shard_prefix(id) + kResults;
  Result<> placed;
  KR_CHECK(rows.scan(Family::kSession, results, kv::after_prefix(results), false, [&](std::string_view key, std::string_view value) {
    Reader at(key.substr(results.size()));
    const std::string_view incarnation = at.raw(16);
    const std::uint64_t sequence = at.u64();
    placed = at.finish("session result key");
    if (!placed) return false;
    const auto session = shard.find(Incarnation::from(incarnation));
    if (session == shard.end()) {
      placed = fail(Code::kCorrupt, "shard {}: the result of a session that is not there", id.value());
      return false;
    }
    session->second.results.emplace(sequence, value);
    return true;
  }));
  KR_CHECK(std::move(placed));
  shards_.insert_or_assign(id, std::move(shard));
  return {};
}

Sessions::Check Sessions::check(const ApplyContext& context, const Envelope& envelope, kv::Overlay& rows) {
  Shard& shard = shards_[context.shard];
  const Stamp& stamp = envelope.stamp;
  if (envelope.kind == Envelope::Kind::kOpenSession) return open(context, stamp, shard, rows);

  const auto found = shard.find(stamp.incarnation);
  if (found == shard.end() || found->second.id != stamp.session || found->second.boot_epoch != stamp.boot_epoch) {
    if (mutant(Mutant::kSessionUnknownExecutes)) return {.answer = {}, .fresh = true};
    return {.answer = {.verdict = Verdict::kNoSession, .result = {}}};
  }
  Session& session = found->second;
  if (stamp.low > session.low && stamp.low <= stamp.sequence) {
    session.low = stamp.low;
    auto result = session.results.begin();
    while (result != session.results.end() && result->first < session.low + (mutant(Mutant::kSessionForgetsLow) ? 1 : 0)) {
      rows.erase(Family::kSession, result_key(context.shard, stamp.incarnation, result->first));
      result = session.results.erase(result);
    }
    write(context.shard, stamp.incarnation, session, rows);
  }
  if (stamp.sequence < session.low) return {.answer = {.verdict = Verdict::kForgotten, .result = {}}};
  if (stamp.sequence - session.low >= kSessionWindow) return {.answer = {.verdict = Verdict::kOutOfWindow, .result = {}}};
  if (const auto result = session.results.find(stamp.sequence); result != session.results.end() && !mutant(Mutant::kSessionExecutesTwice))
    return {.answer = {.verdict = Verdict::kApplied, .result = result->second}};
  return {.answer = {}, .fresh = true};
}

void Sessions::executed(const ApplyContext& context, const Stamp& stamp, const std::string& result, kv::Overlay& rows) {
  Session& session = shards_[context.shard][stamp.incarnation];
  session.results.insert_or_assign(stamp.sequence, result);
  if (!mutant(Mutant::kSessionNotStored)) rows.put(Family::kSession, result_key(context.shard, stamp.incarnation, stamp.sequence), result);
  // To the minute is enough for a life of a day, and keeps the row from being written by every entry.
  if (context.now - session.used >= std::chrono::minutes(1)) {
    session.used = context.now;
    write(context.shard, stamp.incarnation, session, rows);
  }
}

Sessions::Check Sessions::open(const ApplyContext& context, const Stamp& stamp, Shard& shard, kv::Overlay& rows) {
  const auto answer = [](std::uint64_t id) {
    Writer out;
    out.u64(id);
    return Check{.answer = {.verdict = Verdict::kApplied, .result = std::move(out).take()}};
  };
  evict(context, shard, rows);
  if (const auto found = shard.find(stamp.incarnation); found != shard.end()) {
    if (found->second.boot_epoch > stamp.boot_epoch && !mutant(Mutant::kSessionOlderBoot)) return {.answer = {.verdict = Verdict::kNoSession, .result = {}}};
    if (found->second.boot_epoch == stamp.boot_epoch) return answer(found->second.id);  // an opening sent twice
    drop(context.shard, shard, found, rows);
  }
  Session session{.boot_epoch = stamp.boot_epoch, .id = context.index, .low = 1, .used = context.now, .results = {}};
  write(context.shard, stamp.incarnation, session, rows);
  shard.emplace(stamp.incarnation, std::move(session));
  return answer(context.index);
}

void Sessions::evict(const ApplyContext& context, Shard& shard, kv::Overlay& rows) {
  for (auto session = shard.begin(); session != shard.end();) {
    const auto next = std::next(session);
    if (context.now - session->second.used > kSessionLife) drop(context.shard, shard, session, rows);
    session = next;
  }
  while (shard.size() >= kSessionsMax)
    drop(context.shard, shard,
         std::ranges::min_element(shard, {}, [](const auto& one) { return std::pair(one.second.used, one.first); }), rows);
}

void Sessions::drop(ShardId id, Shard& shard, Shard::iterator session, kv::Overlay& rows) {
  for (const auto& [sequence, result] : session->second.results)
    rows.erase(Family::kSession, result_key(id, session->first, sequence));
  rows.erase(Family::kSession, session_key(id, session->first));
  shard.erase(session);
}

void Sessions::write(ShardId id, const Incarnation& incarnation, const Session& session, kv::Overlay& rows) const {
  Writer out;
  out.u8(kVersion).u64(session.boot_epoch).u64(session.id).u64(session.low).i64(session.used.count());
  rows.put(Family::kSession, session_key(id, incarnation), out.str());
}

std::size_t Sessions::size(ShardId shard) const {
  const auto found = shards_.find(shard);
  return found == shards_.end() ? 0 : found->second.size();
}

}  // namespace kraken::group
