#include "src/build_index/store.h"

#include <algorithm>

#include "src/metadata/manifest_push.h"

namespace kraken::build_index {

namespace {

using metadata::Expectation;
using metadata::state::Refusal;
using registry::Precondition;
using registry::PutOutcome;
using registry::TagValue;

std::optional<TagValue> value_of(const std::optional<metadata::TagRow>& row) {
  if (!row || row->tombstone) return std::nullopt;
  return TagValue{row->digest, row->revision};
}

/// What Go's decoder says of a body that is no JSON at all, since stock's clients have come to know it.
std::string not_json(std::string_view body) {
  const auto first = body.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "unexpected end of JSON input";
  const auto byte = static_cast<unsigned char>(body[first]);
  if (std::string_view("{[\"-0123456789tfn").find(static_cast<char>(byte)) != std::string_view::npos) return "";
  std::string shown;
  if (byte == '\'') {
    shown = "\\'";
  } else if (byte >= 0x20 && byte < 0x7f) {
    shown = static_cast<char>(byte);
  } else if (byte < 0x80) {
    shown = fmt::format("\\x{:02x}", byte);
  } else {
    shown = fmt::format("\\u{:04x}", byte);
  }
  return "invalid character '" + shown + "' looking for beginning of value";
}

net::Task<Expectation> expectation(metadata::Client& metadata, QualifiedTag tag, Precondition precondition,
                                   std::optional<TagValue>& stands, bool& holds) {
  holds = true;
  if (precondition.digest) {
    KR_CO_TRY(const auto found, co_await metadata.get_tag(tag.repository, tag.tag));
    stands = value_of(found.row);
    holds = stands && stands->digest == *precondition.digest &&
            (!precondition.revision || *precondition.revision == stands->revision);
    co_return holds ? Expectation::at(stands->revision) : Expectation{};
  }
  if (!precondition.revision) co_return Expectation::any();
  co_return *precondition.revision == 0 ? Expectation::absent() : Expectation::at(*precondition.revision);
}

}  // namespace

net::Task<std::optional<TagValue>> ClusterTags::get(QualifiedTag tag) {
  KR_CO_TRY(const auto found, co_await metadata_.get_tag(std::move(tag.repository), std::move(tag.tag)));
  co_return value_of(found.row);
}

net::Task<TagStore::Stale> ClusterTags::get_stale(QualifiedTag tag) {
  KR_CO_TRY(const auto seen, co_await metadata_.get_tag_stale(std::move(tag.repository), std::move(tag.tag)));
  Stale stale;
  stale.value = value_of(seen.found.row);
  stale.how.index = seen.how.index;
  if (seen.how.age != Duration::max()) stale.how.age = seen.how.age;
  co_return stale;
}

net::Task<PutOutcome> ClusterTags::put(QualifiedTag tag, Digest digest, Precondition precondition) {
  PutOutcome outcome;
  bool holds = true;
  KR_CO_TRY(const auto expect, co_await expectation(metadata_, tag, precondition, outcome.winner, holds));
  if (!holds) {
    outcome.what = PutOutcome::What::kConflict;
    co_return outcome;
  }
  metadata::state::Command retag = metadata::state::Retag{tag.repository, {tag.tag}, digest, expect, {}};
  KR_CO_TRY(const auto tagged, co_await metadata_.propose(std::move(retag)));
  if (tagged.done()) {
    outcome.revision = tagged.index;
    co_return outcome;
  }
  if (tagged.refusal == Refusal::kRevision) {
    outcome.what = PutOutcome::What::kConflict;
    outcome.winner = value_of(tagged.tag);
    co_return outcome;
  }
  if (tagged.refusal != Refusal::kNoManifest)
    co_return std::unexpected(metadata::state::error_of(tagged, "tag " + tag.str()));
  co_return co_await push(std::move(tag), digest, expect);
}

net::Task<PutOutcome> ClusterTags::push(QualifiedTag tag, Digest digest, Expectation expect) {
  // Until authorization comes any repository reads any blob; stock asks for it under the tag's own name.
  auto body = co_await blobs_.read(tag.repository, digest, kManifestBytesMax);
  if (!body && body.error().code == Code::kTooLarge)
    co_return fail(Code::kInvalidArgument, "parse manifest: {}", body.error().detail);
  if (!body) co_return std::unexpected(std::move(body).error());
  auto manifest = Manifest::parse(*body, "");
  if (!manifest) {
    const auto text = not_json(*body);
    co_return fail(Code::kInvalidArgument, "parse manifest: {}",
                   text.empty() ? manifest.error().detail : "peek manifest: " + text);
  }
  metadata::ManifestPush push;
  push.repository = std::move(tag.repository);
  push.manifest = digest;
  push.media_type = std::move(manifest->media_type);
  push.size = body->size();
  for (const auto& reference : manifest->references) push.references.push_back(reference.digest);
  if (manifest->subject) push.subject = manifest->subject->digest;
  push.tags.push_back(std::move(tag.tag));
  push.expect = expect;
  KR_CO_TRY(auto pushed, co_await metadata::push_manifest(metadata_, std::move(push)));
  PutOutcome outcome;
  outcome.revision = pushed.tag ? pushed.tag->revision : 0;
  if (pushed.what == metadata::ManifestPushed::What::kMissing) {
    outcome.what = PutOutcome::What::kReferencesMissing;
    outcome.missing = std::move(pushed.missing);
  } else if (pushed.what == metadata::ManifestPushed::What::kConflict) {
    outcome.what = PutOutcome::What::kConflict;
    outcome.winner = value_of(pushed.tag);
  }
  co_return outcome;
}

net::Task<registry::RemoveOutcome> ClusterTags::remove(QualifiedTag tag, Precondition precondition) {
  registry::RemoveOutcome outcome;
  bool holds = true;
  KR_CO_TRY(const auto expect, co_await expectation(metadata_, tag, precondition, outcome.winner, holds));
  if (!holds) {
    if (!outcome.winner) co_return fail(Code::kNotFound, "no tag {}", tag.str());
    outcome.conflict = true;
    co_return outcome;
  }
  KR_CO_TRY(const auto written, co_await metadata_.delete_tag(std::move(tag.repository), std::move(tag.tag), expect));
  outcome.conflict = !written.done;
  if (outcome.conflict) outcome.winner = value_of(written.row);
  co_return outcome;
}

net::Task<registry::Page> ClusterTags::tags(Repository repository, std::string after, std::size_t count) {
  auto reading = metadata_.list_tags(std::move(repository), std::move(after), static_cast<std::uint32_t>(count));
  KR_CO_TRY(auto found, co_await std::move(reading));
  registry::Page page;
  page.more = found.more;
  page.names.reserve(found.tags.size());
  for (const auto& tag : found.tags) page.names.push_back(tag.tag.str());
  co_return page;
}

net::Task<registry::Page> ClusterTags::repositories(std::string after, std::size_t count) {
  auto reading = metadata_.list_repositories(std::move(after), static_cast<std::uint32_t>(count));
  KR_CO_TRY(auto found, co_await std::move(reading));
  registry::Page page;
  page.more = found.more;
  page.names.reserve(found.repositories.size());
  for (const auto& repository : found.repositories) page.names.push_back(repository.str());
  co_return page;
}

}  // namespace kraken::build_index
