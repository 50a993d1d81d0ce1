#pragma once
// What apply answers to a command: done, or refused and why, with what the caller needs to go on. Encoded with a
// version byte (docs/formats/metadata.md); it is kept in the session of the proposer, so it stays small (the group
// layer wants at most 64 KB). Threads: plain values.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "src/metadata/state/rows.h"

namespace kraken::metadata::state {

/// Why apply refused. Nothing was changed, except that replicated time moved. Persisted in sessions: do not renumber.
enum class Refusal : std::uint8_t {
  kNone = 0,
  kMalformed = 1,        // bytes that are no command, or a field beyond its bound
  kWrongShard = 2,       // the digest or repository belongs to another shard
  kNoRecord = 3,         // no blob row
  kWrongState = 4,       // the blob's state does not allow it
  kWrongGeneration = 5,  // a holder left, or the row is another one, since the generation was read
  kNoMark = 6,           // the push's mark is gone: begin again at Arrive
  kMarkNotDue = 7,
  kReferenced = 8,  // references stand
  kMarked = 9,      // marks stand
  kGraceNotOver = 10,
  kLastHolder = 11,  // nobody else is known to have the bytes
  kNotAHolder = 12,
  kPushTooOld = 13,  // begin again with a new push id
  kNoManifest = 14,
  kTagged = 15,  // a tag names it
  kNoTag = 16,
  kRevision = 17,      // compare-and-swap lost; `tag` has the winner, none if there is no tag
  kNoTask = 18,        // it ended, or moved
  kTaskRevision = 19,  // somebody wrote the task since; `task` has it
  kTaskClaimed = 20,   // a claim stands; `task` has it
  kTooLarge = 21,      // more than kPiecesMax pieces
  kNoTombstone = 22,
};
/// "wrong_generation"
std::string_view name(Refusal refusal);
/// For people: one sentence.
std::string_view explain(Refusal refusal);

struct Outcome {
  Refusal refusal = Refusal::kNone;
  std::string detail;               // of kMalformed
  std::uint64_t index = 0;          // the entry's log index: the revision of what it wrote
  Duration now{};                   // the shard's replicated time
  std::optional<BlobRow> blob;      // commands on a blob: its record after this entry, also when refused; none: no row
  bool metainfo_differs = false;    // Commit: the record had another one already, which stands; read it
  std::optional<TagRow> tag;        // commands on tags: the first one's row after this entry
  std::optional<TaskKey> task_key;  // commands on a task: where it stands now
  std::optional<TaskRow> task;
  std::uint32_t removed = 0;  // DeleteManifest: tags removed

  bool done() const { return refusal == Refusal::kNone; }
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::string encode(const Outcome& outcome);
/// kCorrupt for anything that is not an outcome.
Result<Outcome> decode_outcome(std::string_view bytes);

/// The refusal as an error of the product: kNotFound for kNoRecord, kNoTag, kNoManifest, kNoTask and kNoTombstone;
/// kTooLarge; kInvalidArgument for kMalformed; kInternal for kWrongShard; kUnavailable for kPushTooOld; else kConflict.
/// REQUIRES: !outcome.done().
Error error_of(const Outcome& outcome, std::string_view what);

}  // namespace kraken::metadata::state
