// What clients asked and were told, and what the log says became of it.
//
// 14 linearizable  each linearizable read, and each write, takes effect behind everything of its shard that was answered before it
//                  began (the log is the witness); and per tag the history as clients saw it has an explanation (the search of
//                  tests/history), pending operations resolved from the log exactly
// 15 durability    an acknowledged proposal was executed, with the result that was told; a refused one never is
// 17 tasks         a standing claim is nobody else's; no task is gone before it was finished
// 18 metainfo      of a digest never changes
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "src/metadata/client.h"
#include "tests/history/register_model.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/whole/oracle.h"

namespace kraken::sim::whole {

class History final : public CommitListener {
 public:
  History(const EventQueue& events, size_t groups) : events_(events), floors_(groups) {}

  struct Op {
    enum class Kind : uint8_t { kOther, kRead, kWrite, kRemove } kind = Kind::kOther;
    size_t client = 0;
    std::string key;               // of a tag: repository:tag
    Digest value;                  // written
    std::optional<uint64_t> expect;  // revision; 0: absent
    Time call{};
    std::optional<Time> ret;
    // As the client was told.
    bool conflict = false;
    std::optional<Digest> seen;    // reads and conflicts; none: no such tag
    uint64_t revision = 0;
    bool unknown = false;          // ended without a result
    // Of the proposal or read under way.
    Index floor{};
    bool linearizable = false;
    std::string stamp;
    // What the log says of it.
    bool executed = false, lost_race = false;
    uint64_t executed_revision = 0;
    std::optional<Digest> met;     // lost_race: the winner
  };

  uint64_t begin(Op op);
  Op& at(uint64_t id) { return ops_[id - 1]; }
  /// The client has its answer.
  void end(uint64_t id) { at(id).ret = events_.now(); }

  // From the node.
  void called(uint64_t id, ShardId shard, bool linearizable);
  void stamped(uint64_t id, ShardId shard, const Stamp& stamp);
  void unstamped(uint64_t id);
  void answered(uint64_t id, ShardId shard, const std::string& result);
  void refused(uint64_t id);
  void read_at(uint64_t id, ShardId shard, Index at);

  void committed(ShardId shard, Index index, const group::Envelope& envelope, const Answer& answer, bool first) override;
  /// What the log says a blob's metainfo is.
  const MetaInfo* metainfo(const Digest& digest) const;

  /// At the end, when nothing is under way any more.
  void settle() const;

  uint64_t writes() const { return writes_; }
  uint64_t reads() const { return reads_; }
  uint64_t searched() const { return searched_; }
  uint64_t unknown() const;

 private:
  struct Executed {
    Index index{};
    std::string result;
  };
  struct Tag {
    Digest digest;
    uint64_t revision = 0;
  };
  void check_command(ShardId shard, Index index, const group::Envelope& envelope, const Answer& answer, Op* op);
  void check_tag(const std::string& key, const metadata::Expectation& expect, const metadata::state::Outcome& outcome, std::optional<Tag> becomes, Op* op);

  const EventQueue& events_;
  std::vector<Index> floors_;
  std::vector<Op> ops_;
  std::map<std::string, uint64_t> by_stamp_;
  std::map<std::string, Executed> executed_;
  std::set<std::string> refused_;
  std::map<std::string, Tag> tags_;
  struct Task {
    metadata::state::TaskKey key;
    uint64_t revision = 0;
    std::optional<metadata::state::Claim> claim;
  };
  std::map<std::pair<ShardId, std::string>, Task> tasks_;  // those that clients added, by id
  std::map<Digest, MetaInfo> metainfo_;
  uint64_t writes_ = 0, reads_ = 0;
  mutable uint64_t searched_ = 0;
};

}  // namespace kraken::sim::whole
