#include "src/metadata/state/outcome.h"

#include "src/metadata/state/codec.h"

namespace kraken::metadata::state {
namespace {

struct RefusalInfo {
  std::string_view name;
  Code code;
  std::string_view sentence;
};

RefusalInfo info_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNone:
      return {"none", Code::kInternal, "not refused"};
    case Refusal::kMalformed:
      return {"malformed", Code::kInvalidArgument, "the command is malformed"};
    case Refusal::kWrongShard:
      return {"wrong_shard", Code::kInternal, "the command belongs to another shard"};
    case Refusal::kNoRecord:
      return {"no_record", Code::kNotFound, "there is no record of this blob"};
    case Refusal::kWrongState:
      return {"wrong_state", Code::kConflict, "the blob's state does not allow it"};
    case Refusal::kWrongGeneration:
      return {"wrong_generation", Code::kConflict, "the record's holders changed since it was read; read it again"};
    case Refusal::kNoMark:
      return {"no_mark", Code::kConflict, "the upload took too long and was expired; push again"};
    case Refusal::kMarkNotDue:
      return {"mark_not_due", Code::kConflict, "the upload's deadline has not passed"};
    case Refusal::kReferenced:
      return {"referenced", Code::kConflict, "manifests refer to this blob; delete them first"};
    case Refusal::kMarked:
      return {"marked", Code::kConflict, "the blob was pushed recently and is held for a day"};
    case Refusal::kGraceNotOver:
      return {"grace_not_over", Code::kConflict, "the grace since it was condemned is not over"};
    case Refusal::kLastHolder:
      return {"last_holder", Code::kConflict, "nobody else is known to have the bytes"};
    case Refusal::kNotAHolder:
      return {"not_a_holder", Code::kConflict, "the store is not a holder of this blob"};
    case Refusal::kPushTooOld:
      return {"push_too_old", Code::kUnavailable, "the push took too long; begin again"};
    case Refusal::kNoManifest:
      return {"no_manifest", Code::kNotFound, "the repository does not have this manifest"};
    case Refusal::kTagged:
      return {"tagged", Code::kConflict, "a tag names this manifest"};
    case Refusal::kNoTag:
      return {"no_tag", Code::kNotFound, "there is no such tag"};
    case Refusal::kRevision:
      return {"revision", Code::kConflict, "the tag is not what was expected"};
    case Refusal::kNoTask:
      return {"no_task", Code::kNotFound, "there is no such task; it ended or was postponed"};
    case Refusal::kTaskRevision:
      return {"task_revision", Code::kConflict, "the task was changed since it was read"};
    case Refusal::kTaskClaimed:
      return {"task_claimed", Code::kConflict, "another node has claimed the task"};
    case Refusal::kTooLarge:
      return {"too_large", Code::kTooLarge, "the blob has more pieces than a record can hold"};
    case Refusal::kNoTombstone:
      return {"no_tombstone", Code::kNotFound, "there is no such tombstone"};
  }
  return {"?", Code::kInternal, "refused for an unknown reason"};
}

}  // namespace

std::string_view name(Refusal refusal) { return info_of(refusal).name; }

std::string_view explain(Refusal refusal) { return info_of(refusal).sentence; }

std::string encode(const Outcome& outcome) { return codec::encode_struct(outcome); }

Result<Outcome> decode_outcome(std::string_view bytes) { return codec::decode_struct<Outcome>(bytes, "outcome"); }

Error error_of(const Outcome& outcome, std::string_view what) {
  const RefusalInfo info = info_of(outcome.refusal);
  if (outcome.detail.empty()) return Error{info.code, fmt::format("{}: {}", what, info.sentence)};
  return Error{info.code, fmt::format("{}: {}: {}", what, info.sentence, outcome.detail)};
}

}  // namespace kraken::metadata::state
