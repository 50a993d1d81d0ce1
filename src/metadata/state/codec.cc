#include "src/metadata/state/codec.h"

namespace kraken::metadata::state::codec {

bool valid(BlobState state) { return state >= BlobState::kArriving && state <= BlobState::kCondemned; }

bool valid(TaskKind kind) {
  return (kind >= TaskKind::kCopy && kind <= TaskKind::kWriteBackBlob) ||
         (kind >= TaskKind::kRemoveRefs && kind <= TaskKind::kDeleteBackendTag);
}

bool valid(Expectation::Kind kind) { return kind <= Expectation::Kind::kDigest; }

bool valid(Refusal refusal) { return refusal <= Refusal::kNoTombstone; }

void Get::get(Duration& value) {
  const Duration read(in_.i64());
  if (read < Duration::zero() || read > kDurationMax)
    in_.reject();
  else
    value = read;
}

void Get::get(Digest& value) {
  const std::string_view raw = in_.raw(32);
  if (!in_.ok()) return;
  if (auto parsed = Digest::from_raw(raw))
    value = *parsed;
  else
    in_.reject();
}

void Get::get(StoreId& value) {
  const std::string_view raw = in_.raw(16);
  if (!in_.ok()) return;
  if (auto parsed = StoreId::from_raw(raw))
    value = *parsed;
  else
    in_.reject();
}

// Empty where a struct has no repository or tag (a task of a blob).
void Get::get(Repository& value) {
  const std::string_view text = in_.bytes();
  if (!in_.ok() || text.empty()) return;
  if (auto parsed = Repository::parse(text))
    value = *std::move(parsed);
  else
    in_.reject();
}

void Get::get(TagName& value) {
  const std::string_view text = in_.bytes();
  if (!in_.ok() || text.empty()) return;
  if (auto parsed = TagName::parse(text))
    value = *std::move(parsed);
  else
    in_.reject();
}

}  // namespace kraken::metadata::state::codec
