#include "src/proxy/cluster_manifests.h"

#include <algorithm>
#include <cstring>

#include "src/metadata/manifest_push.h"

namespace kraken::proxy {

namespace {

using metadata::Expectation;
using registry::TagValue;

constexpr int kBodyAttempts = 3;

std::optional<TagValue> value_of(const std::optional<metadata::TagRow>& row) {
  if (!row || row->tombstone) return std::nullopt;
  return TagValue{row->digest, row->revision};
}

/// What a conditional write of a tag expects, and where the tag stands if that cannot hold any more.
struct Expected {
  Expectation expect;
  bool holds = true;
  std::optional<TagValue> stands;
};

/// The next bytes of `left`, which shrinks; both outlive the call.
net::Task<std::size_t> take(std::string_view& left, std::span<char> into) {
  const std::size_t count = std::min(into.size(), left.size());
  std::memcpy(into.data(), left.data(), count);
  left.remove_prefix(count);
  co_return count;
}

net::Task<Expected> expected(metadata::Client& metadata, Repository repository, TagName tag,
                             registry::Precondition precondition) {
  Expected result;
  if (precondition.digest) {
    KR_CO_TRY(const auto found, co_await metadata.get_tag(std::move(repository), std::move(tag)));
    result.stands = value_of(found.row);
    result.holds = result.stands && result.stands->digest == *precondition.digest &&
                   (!precondition.revision || *precondition.revision == result.stands->revision);
    if (result.holds) result.expect = Expectation::at(result.stands->revision);
  } else if (precondition.revision) {
    result.expect = *precondition.revision == 0 ? Expectation::absent() : Expectation::at(*precondition.revision);
  }
  co_return result;
}

}  // namespace

net::Task<metadata::ManifestRow> ClusterManifests::row_of(Repository repository, Digest digest, bool tagged) {
  if (tagged) {
    // A tag names only what has a row, and the tag was read just now: a row that some replica shows is the right one.
    auto near = metadata_.get_manifest(repository, digest, metadata::Read::kLocal);
    const auto found = co_await std::move(near);
    if (found && found->row && !found->tombstone) co_return *found->row;
  }
  auto reading = metadata_.get_manifest(repository, digest);
  KR_CO_TRY(const auto found, co_await std::move(reading));
  if (!found.row || found.tombstone || found.row->opaque())
    co_return fail(Code::kNotFound, "{} has no manifest {}", repository.str(), digest.str());
  co_return *found.row;
}

net::Task<registry::ManifestContent> ClusterManifests::get(Repository repository, registry::Reference reference) {
  const auto* tag = std::get_if<TagName>(&reference);
  if (tag == nullptr) {
    auto getting = content_of(std::move(repository), {std::get<Digest>(reference), 0}, false);
    co_return co_await std::move(getting);
  }
  auto reading = metadata_.get_tag(repository, *tag);
  KR_CO_TRY(const auto found, co_await std::move(reading));
  const auto value = value_of(found.row);
  if (!value) co_return fail(Code::kNotFound, "no tag {}:{}", repository.str(), tag->str());
  auto getting = content_of(std::move(repository), *value, true);
  co_return co_await std::move(getting);
}

net::Task<registry::ManifestContent> ClusterManifests::get_stale(Repository repository, TagName tag) {
  auto reading = metadata_.get_tag_stale(repository, tag);
  KR_CO_TRY(const auto seen, co_await std::move(reading));
  const auto value = value_of(seen.found.row);
  // A replica that lacks it proves nothing.
  if (!value) co_return fail(Code::kUnavailable, "no tag {}:{} on the replica that was asked", repository.str(), tag.str());
  auto getting = content_of(std::move(repository), *value, true);
  KR_CO_TRY(auto content, co_await std::move(getting));
  content.stale = registry::Staleness{.age = std::nullopt, .index = seen.how.index};
  if (seen.how.age != Duration::max()) content.stale->age = seen.how.age;
  co_return content;
}

net::Task<registry::ManifestContent> ClusterManifests::content_of(Repository repository, TagValue value, bool tagged) {
  registry::ManifestContent content;
  content.digest = value.digest;
  content.revision = value.revision;
  KR_CO_TRY(auto row, co_await row_of(repository, content.digest, tagged));
  content.media_type = std::move(row.media_type);
  auto body = co_await reader_.read(repository, content.digest, kManifestBytesMax);
  if (!body) {
    // The row says that it exists, so a blob that is not there is trouble, and never a 404.
    if (body.error().code == Code::kNotFound) body.error().code = Code::kUnavailable;
    co_return std::unexpected(std::move(body).error());
  }
  content.body = std::move(*body);
  co_return content;
}

net::Task<> ClusterManifests::push_body(Repository repository, Digest digest, const std::string& body) {
  Result<> done;
  for (int attempt = 0; attempt < kBodyAttempts; ++attempt) {
    KR_CO_TRY(const auto id, co_await writer_.start(repository));
    std::string_view left = body;
    registry::BodyReader reader = [&left](std::span<char> into) { return take(left, into); };
    const auto appended = co_await writer_.append(repository, id, 0, body.size(), std::move(reader));
    if (!appended) {
      done = std::unexpected(appended.error());
    } else {
      done = co_await writer_.finish(repository, id, digest);
    }
    if (done) co_return done;
    [[maybe_unused]] const auto cancelled = co_await writer_.cancel(repository, id);
    if (done.error().code != Code::kConflict) break;  // kConflict: the record changed meanwhile, begin again
  }
  co_return done;
}

net::Task<registry::PutOutcome> ClusterManifests::put(registry::ManifestPut put) {
  registry::PutOutcome outcome;
  Expected condition;
  if (put.precondition.any() && !put.tags.empty()) {
    auto reading = expected(metadata_, put.repository, put.tags.front(), put.precondition);
    KR_CO_TRY(condition, co_await std::move(reading));
    if (!condition.holds) {
      outcome.what = registry::PutOutcome::What::kConflict;
      outcome.winner = condition.stands;
      co_return outcome;
    }
  }
  auto known = metadata_.get_manifest(put.repository, put.digest);
  KR_CO_TRY(const auto found, co_await std::move(known));
  // A row keeps its blob; without one the bytes go first.
  if (!found.row || found.tombstone) KR_CO_CHECK(co_await push_body(put.repository, put.digest, put.body));

  metadata::ManifestPush push;
  push.repository = std::move(put.repository);
  push.manifest = put.digest;
  push.media_type = std::move(put.manifest.media_type);
  push.size = put.body.size();
  for (const auto& reference : put.manifest.references) push.references.push_back(reference.digest);
  if (put.manifest.subject) push.subject = put.manifest.subject->digest;
  push.tags = std::move(put.tags);
  push.expect = condition.expect;
  KR_CO_TRY(auto pushed, co_await metadata::push_manifest(metadata_, std::move(push)));
  outcome.revision = pushed.tag ? pushed.tag->revision : 0;
  switch (pushed.what) {
    case metadata::ManifestPushed::What::kStored:
      break;
    case metadata::ManifestPushed::What::kMissing:
      outcome.what = registry::PutOutcome::What::kReferencesMissing;
      outcome.missing = std::move(pushed.missing);
      break;
    case metadata::ManifestPushed::What::kConflict:
      outcome.what = registry::PutOutcome::What::kConflict;
      outcome.winner = value_of(pushed.tag);
      break;
  }
  co_return outcome;
}

net::Task<registry::RemoveOutcome> ClusterManifests::remove(Repository repository, registry::Reference reference,
                                                            registry::Precondition precondition) {
  registry::RemoveOutcome outcome;
  if (const auto* digest = std::get_if<Digest>(&reference)) {
    KR_CO_CHECK(co_await metadata_.delete_manifest(std::move(repository), *digest));
    co_return outcome;
  }
  const auto& tag = std::get<TagName>(reference);
  auto reading = expected(metadata_, repository, tag, precondition);
  KR_CO_TRY(const auto condition, co_await std::move(reading));
  if (!condition.holds) {
    if (!condition.stands) co_return fail(Code::kNotFound, "no tag {}:{}", repository.str(), tag.str());
    outcome.conflict = true;
    outcome.winner = condition.stands;
    co_return outcome;
  }
  auto deleting = metadata_.delete_tag(repository, tag, condition.expect);
  KR_CO_TRY(const auto written, co_await std::move(deleting));
  outcome.conflict = !written.done;
  if (outcome.conflict) outcome.winner = value_of(written.row);
  co_return outcome;
}

net::Task<registry::Page> ClusterManifests::list(Repository repository, std::string after, std::size_t count) {
  const std::string name = repository.str();
  // Zero names is a question too: whether the repository is there.
  const auto limit = static_cast<std::uint32_t>(std::max<std::size_t>(count, 1));
  KR_CO_TRY(auto found, co_await metadata_.list_tags(std::move(repository), std::move(after), limit));
  if (!found.repository_known) co_return fail(Code::kNotFound, "no repository {}: nothing was pushed to it", name);
  registry::Page page;
  if (count == 0) co_return page;
  page.more = found.more;
  page.names.reserve(found.tags.size());
  for (const auto& tag : found.tags) page.names.push_back(tag.tag.str());
  co_return page;
}

net::Task<registry::Page> ClusterManifests::catalog(std::string after, std::size_t count) {
  registry::Page page;
  if (count == 0) co_return page;
  auto reading = metadata_.list_repositories(std::move(after), static_cast<std::uint32_t>(count));
  KR_CO_TRY(auto found, co_await std::move(reading));
  page.more = found.more;
  page.names.reserve(found.repositories.size());
  for (const auto& repository : found.repositories) page.names.push_back(repository.str());
  co_return page;
}

}  // namespace kraken::proxy
