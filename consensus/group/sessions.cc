#include "consensus/group/sessions.h"

#include <algorithm>
#include <bit>

#include "consensus/group/mutants.h"
#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

using kv::Family;

constexpr std::uint8_t kVersion = 2;  // 1 had no slots
constexpr char kSessions = '\1';
constexpr char kResults = '\2';
constexpr char kSlots = '\3';

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

std::string slots_prefix(ShardId shard, const Incarnation& incarnation) {
  std::string key = kv::shard_prefix(shard);
  key += kSlots;
  key += incarnation.view();
  return key;
}

std::string slot_key(ShardId shard, const Incarnation& incarnation, std::uint16_t slot) {
  Writer out;
  out.u16(shard.value()).u8(static_cast<std::uint8_t>(kSlots)).raw(incarnation.view()).u16(slot);
  return std::move(out).take();
}

}  // namespace

void Sessions::Session::set_taken(std::uint16_t slot, bool to) {
  const std::size_t word = slot / 64u;
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64u);
  if (word >= taken.size()) taken.resize(word + 1);
  taken[word] = to ? taken[word] | bit : taken[word] & ~bit;
}

/// The lowest that is free: below kSessionWindow, since no more results than that are kept.
std::uint16_t Sessions::Session::take_slot() {
  std::size_t word = 0;
  while (word < taken.size() && ~taken[word] == 0) ++word;
  const auto slot = static_cast<std::uint16_t>(word * 64 + (word < taken.size() ? static_cast<std::size_t>(std::countr_one(taken[word])) : 0));
  set_taken(slot, true);
  return slot;
}

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
    if (read && (version < 1 || version > kVersion)) read = fail(Code::kUnsupported, "session: version {}, known is {}", version, kVersion);
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
    session->second.results.emplace(sequence, Session::Kept{.result = std::string(value), .old_row = true});
    return true;
  }));
  KR_CHECK(std::move(placed));
  KR_CHECK(load_slots(id, rows, shard));
  shards_.insert_or_assign(id, std::move(shard));
  return {};
}

Result<> Sessions::load_slots(ShardId id, const kv::View& rows, Shard& sessions) const {
  const std::string first = kv::shard_prefix(id) + kSlots;
  Result<> read;
  KR_CHECK(rows.scan(Family::kSession, first, kv::after_prefix(first), false, [&](std::string_view key, std::string_view value) {
    Reader at(key.substr(first.size()));
    const std::string_view incarnation = at.raw(16);
    const std::uint16_t slot = at.u16();
    Reader in(value);
    const std::uint64_t sequence = in.u64();
    const std::uint64_t low = in.u64();
    const std::string_view result = in.rest();
    read = at.finish("session slot key");
    if (read) read = in.finish("session slot");
    if (!read) return false;
    const auto session = sessions.find(Incarnation::from(incarnation));
    if (session == sessions.end() || slot >= kSessionWindow) {
      read = fail(Code::kCorrupt, "shard {}: slot {} of a session that is not there", id.value(), slot);
      return false;
    }
    session->second.low = std::max(session->second.low, low);
    session->second.results.emplace(sequence, Session::Kept{.result = std::string(result), .slot = slot});
    return true;
  }));
  KR_CHECK(std::move(read));
  for (auto& [incarnation, session] : sessions) {
    // An old row below low cannot be: it goes with the entry that forgets it.
    session.results.erase(session.results.begin(), session.results.lower_bound(session.low));
    for (const auto& [sequence, kept] : session.results)
      if (!kept.old_row) session.set_taken(kept.slot, true);
  }
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
  const bool moves = stamp.low > session.low && stamp.low <= stamp.sequence;
  if (moves) {
    session.low = stamp.low;
    auto result = session.results.begin();
    while (result != session.results.end() && result->first < session.low + (mutant(Mutant::kSessionForgetsLow) ? 1 : 0)) {
      if (result->second.old_row) {
        rows.erase(Family::kSession, result_key(context.shard, stamp.incarnation, result->first));
      } else {
        session.set_taken(result->second.slot, false);
      }
      result = session.results.erase(result);
    }
  }
  Check met{.answer = {}, .fresh = true};
  if (const auto result = session.results.find(stamp.sequence); result != session.results.end() && !mutant(Mutant::kSessionExecutesTwice))
    met = {.answer = {.verdict = Verdict::kApplied, .result = result->second.result}};
  if (stamp.sequence < session.low) met = {.answer = {.verdict = Verdict::kForgotten, .result = {}}};
  if (stamp.sequence >= session.low && stamp.sequence - session.low >= kSessionWindow) met = {.answer = {.verdict = Verdict::kOutOfWindow, .result = {}}};
  // What is executed brings the low to its slot.
  if (moves && !met.fresh) write(context.shard, stamp.incarnation, session, rows);
  return met;
}

void Sessions::executed(const ApplyContext& context, const Stamp& stamp, const std::string& result, kv::Overlay& rows) {
  Session& session = shards_[context.shard][stamp.incarnation];
  const std::uint16_t slot = session.take_slot();
  session.results.insert_or_assign(stamp.sequence, Session::Kept{.result = result, .slot = slot});
  if (!mutant(Mutant::kSessionNotStored)) {
    Writer out;
    out.u64(stamp.sequence).u64(session.low).raw(result);
    rows.put(Family::kSession, slot_key(context.shard, stamp.incarnation, slot), out.str());
  }
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
  Session session{.boot_epoch = stamp.boot_epoch, .id = context.index, .low = 1, .used = context.now, .results = {}, .taken = {}};
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
  for (const auto& [sequence, kept] : session->second.results)
    if (kept.old_row) rows.erase(Family::kSession, result_key(id, session->first, sequence));
  const std::string slots = slots_prefix(id, session->first);
  rows.erase_range(Family::kSession, slots, kv::after_prefix(slots));
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
