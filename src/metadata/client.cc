#include "src/metadata/client.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "src/base/rng.h"
#include "src/metadata/parallel.h"

namespace kraken::metadata {
namespace {

std::uint64_t kernel_random() {
  std::uint64_t bits = 0;
  random_bytes(std::as_writable_bytes(std::span(&bits, 1)));
  return bits;
}

Result<BlobRow> blob_of(state::Outcome outcome, const std::string& what) {
  if (!outcome.done()) return std::unexpected(state::error_of(outcome, what));
  if (!outcome.blob) return fail(Code::kInternal, "{}: the outcome has no record", what);
  return *std::move(outcome.blob);
}

}  // namespace

Client::Client(Port& port, Shards shards, ClientOptions options)
    : port_(port), shards_(shards), options_(std::move(options)) {
  if (!options_.random) options_.random = kernel_random;
}

PushId Client::new_mark() const { return {Duration::zero(), options_.random()}; }

PushId Client::new_push(Duration repository_time) const { return {repository_time, options_.random()}; }

// ---- the two ways in

net::Task<state::Outcome> Client::propose_to(ShardId shard, state::Command command) {
  std::string bytes = state::encode(command);
  KR_CO_TRY(const std::string result, co_await port_.propose(shard, std::move(bytes), options_.write_deadline));
  co_return state::decode_outcome(result);
}

net::Task<state::Outcome> Client::propose(state::Command command) {
  ShardId shard;
  if (const Digest* digest = state::sharded_by_digest(command))
    shard = shards_.of(*digest);
  else if (const Repository* repository = state::sharded_by_repository(command))
    shard = shards_.of(*repository);
  else
    co_return fail(Code::kInternal, "{}: no shard was named", state::name(command));
  auto outcome = co_await propose_to(shard, std::move(command));
  co_return outcome;
}

net::Task<state::Answer> Client::query(ShardId shard, state::Query query, Read read) {
  std::string bytes = state::encode(query);
  KR_CO_TRY(const std::string result, co_await port_.query(shard, std::move(bytes), read, options_.read_deadline));
  KR_CO_TRY(state::Answer answer, state::decode_answer(result));
  if (const auto* error = std::get_if<state::ErrorAnswer>(&answer))
    co_return std::unexpected(Error{static_cast<Code>(error->code), error->detail});
  co_return answer;
}

template <class Q>
net::Task<typename Q::Answer> Client::ask(ShardId shard, Q query, Read read) {
  state::Query boxed(std::move(query));
  KR_CO_TRY(state::Answer answer, co_await this->query(shard, std::move(boxed), read));
  if (auto* wanted = std::get_if<typename Q::Answer>(&answer)) co_return std::move(*wanted);
  co_return fail(Code::kCorrupt, "metadata: an answer to another question");
}

// ---- tags and manifests

namespace {

TagFound tag_found(state::TagAnswer answer) {
  TagFound found;
  if (answer.row && answer.row->tombstone)
    found.tombstone = true;
  else
    found.row = std::move(answer.row);
  return found;
}

}  // namespace

net::Task<TagFound> Client::get_tag(Repository repository, TagName tag, Read read) {
  const ShardId shard = shards_.of(repository);
  state::GetTag question{std::move(repository), std::move(tag)};
  KR_CO_TRY(auto answer, co_await ask(shard, std::move(question), read));
  co_return tag_found(std::move(answer));
}

net::Task<StaleTag> Client::get_tag_stale(Repository repository, TagName tag) {
  const ShardId shard = shards_.of(repository);
  std::string bytes = state::encode(state::Query(state::GetTag{std::move(repository), std::move(tag)}));
  KR_CO_TRY(auto stale, co_await port_.query_stale(shard, std::move(bytes), options_.read_deadline));
  KR_CO_TRY(state::Answer answer, state::decode_answer(stale.result));
  if (const auto* error = std::get_if<state::ErrorAnswer>(&answer))
    co_return std::unexpected(Error{static_cast<Code>(error->code), error->detail});
  auto* wanted = std::get_if<state::TagAnswer>(&answer);
  if (wanted == nullptr) co_return fail(Code::kCorrupt, "metadata: an answer to another question");
  StaleTag tagged;
  tagged.found = tag_found(std::move(*wanted));
  tagged.how = {.index = stale.index, .age = stale.age};
  co_return tagged;
}

net::Task<TagWritten> Client::delete_tag(Repository repository, TagName tag, Expectation expect, bool tombstone) {
  const std::string what = fmt::format("delete of tag {}:{}", repository.str(), tag.str());
  state::DeleteTag command{std::move(repository), std::move(tag), expect, tombstone};
  KR_CO_TRY(auto outcome, co_await propose(std::move(command)));
  TagWritten written;
  if (outcome.refusal == state::Refusal::kRevision) {
    written.row = std::move(outcome.tag);
    co_return written;
  }
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, what));
  written.done = true;
  co_return written;
}

net::Task<TagsPage> Client::list_tags(Repository repository, std::string after, std::uint32_t limit) {
  const ShardId shard = shards_.of(repository);
  state::ListTags question{std::move(repository), std::move(after), limit};
  KR_CO_TRY(auto answer, co_await ask(shard, std::move(question), Read::kLinearizable));
  co_return TagsPage{answer.repository_known, std::move(answer.tags), answer.more};
}

// Each shard gives its first `limit` behind `after`; the first `limit` of all of them are the page.
net::Task<RepositoriesPage> Client::list_repositories(std::string after, std::uint32_t limit) {
  limit = std::min(limit, state::kPageMax);
  std::vector<net::Task<state::RepositoriesAnswer>> questions;
  for (std::uint32_t i = 0; i < shards_.count(); ++i) {
    state::ListRepositories question{after, limit};
    questions.push_back(ask(shards_.at(i), std::move(question), Read::kLinearizable));
  }
  auto answers = co_await parallel(std::move(questions), 32);
  RepositoriesPage page;
  for (auto& answer : answers) {
    if (!answer) co_return std::unexpected(answer.error());
    page.more = page.more || answer->more;
    std::ranges::move(answer->repositories, std::back_inserter(page.repositories));
  }
  std::ranges::sort(page.repositories);
  if (page.repositories.size() > limit) {
    page.repositories.resize(limit);
    page.more = true;
  }
  co_return page;
}

net::Task<ManifestFound> Client::get_manifest(Repository repository, Digest manifest, Read read) {
  const ShardId shard = shards_.of(repository);
  state::GetManifest question{std::move(repository), manifest};
  KR_CO_TRY(auto answer, co_await ask(shard, std::move(question), read));
  ManifestFound found;
  if (answer.row && answer.row->tombstone)
    found.tombstone = true;
  else
    found.row = std::move(answer.row);
  co_return found;
}

net::Task<std::uint32_t> Client::delete_manifest(Repository repository, Digest manifest, bool tombstone) {
  const std::string what = fmt::format("delete of manifest {}@{}", repository.str(), manifest.str());
  state::DeleteManifest command{std::move(repository), manifest, false, tombstone};
  KR_CO_TRY(auto outcome, co_await propose(std::move(command)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, what));
  co_return outcome.removed;
}

// ---- blobs

net::Task<BlobFound> Client::get_blob(Digest digest, bool with_metainfo, Read read) {
  state::GetBlob question{digest, with_metainfo};
  KR_CO_TRY(auto answer, co_await ask(shards_.of(digest), std::move(question), read));
  BlobFound found;
  found.row = std::move(answer.row);
  if (answer.metainfo) found.metainfo = answer.metainfo->metainfo(digest);
  found.now = answer.now;
  co_return found;
}

net::Task<BlobRow> Client::touch(Digest digest) {
  for (int tries = 0; tries < 3; ++tries) {
    KR_CO_TRY(auto found, co_await get_blob(digest));
    if (!found.readable()) co_return fail(Code::kNotFound, "blob {}", digest.str());
    if (found.row->state == BlobState::kLive) co_return *std::move(found.row);
    state::Renew command{digest};
    KR_CO_TRY(auto outcome, co_await propose(std::move(command)));
    if (outcome.done() && outcome.blob) co_return *std::move(outcome.blob);
    // Refused: it went, or somebody else renewed it in between. The next read tells.
  }
  co_return fail(Code::kUnavailable, "blob {}: its record keeps changing", digest.str());
}

net::Task<MetaInfo> Client::get_metainfo(Digest digest) {
  const ShardId shard = shards_.of(digest);
  state::GetMetainfo question{digest};
  auto local = co_await ask(shard, question, Read::kLocal);
  if (local && local->row) co_return local->row->metainfo(digest);
  KR_CO_TRY(auto answer, co_await ask(shard, question, Read::kLinearizable));
  if (!answer.row) co_return fail(Code::kNotFound, "metainfo of {}", digest.str());
  co_return answer.row->metainfo(digest);
}

net::Task<BlobRow> Client::propose_blob(state::Command command, std::string what) {
  KR_CO_TRY(auto outcome, co_await propose(std::move(command)));
  co_return blob_of(std::move(outcome), what);
}

net::Task<BlobRow> Client::arrive(Digest digest, PushId push) {
  state::Arrive command;
  command.digest = digest;
  command.push = push;
  auto row = co_await propose_blob(std::move(command), fmt::format("push of {}", digest.str()));
  co_return row;
}

net::Task<BlobCommitted> Client::commit(state::Commit command) {
  const Digest digest = command.digest;
  MetaInfo ours = command.metainfo;
  KR_CO_TRY(auto outcome, co_await propose(std::move(command)));
  const bool differs = outcome.metainfo_differs;
  KR_CO_TRY(BlobRow row, blob_of(std::move(outcome), fmt::format("push of {}", digest.str())));
  if (!differs) co_return BlobCommitted{std::move(row), std::move(ours)};
  KR_CO_TRY(MetaInfo theirs, co_await get_metainfo(digest));
  co_return BlobCommitted{std::move(row), std::move(theirs)};
}

net::Task<BlobRow> Client::enter(Digest digest, Holder holder, std::uint64_t generation) {
  state::Enter command{digest, std::move(holder), generation};
  auto row = co_await propose_blob(std::move(command), fmt::format("enter as holder of {}", digest.str()));
  co_return row;
}

net::Task<BlobRow> Client::leave(Digest digest, StoreId store, std::uint64_t generation, std::vector<StoreId> owners) {
  state::Leave command{digest, store, generation, std::move(owners)};
  auto row = co_await propose_blob(std::move(command), fmt::format("leave as holder of {}", digest.str()));
  co_return row;
}

net::Task<BlobRow> Client::lost(Digest digest, StoreId store, std::uint32_t owners) {
  state::Lost command{digest, store, owners};
  auto row = co_await propose_blob(std::move(command), fmt::format("lost holder of {}", digest.str()));
  co_return row;
}

net::Task<BlobRow> Client::suspect(Digest digest, StoreId store) {
  state::Suspect command{digest, store};
  auto row = co_await propose_blob(std::move(command), fmt::format("suspect holder of {}", digest.str()));
  co_return row;
}

net::Task<BlobRow> Client::backed(Digest digest, std::string backend) {
  state::Backed command{digest, std::move(backend)};
  auto row = co_await propose_blob(std::move(command), fmt::format("write-back of {}", digest.str()));
  co_return row;
}

net::Task<> Client::delete_blob(Digest digest) {
  state::DeleteBlob command{digest};
  KR_CO_TRY(auto outcome, co_await propose(std::move(command)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, fmt::format("delete of {}", digest.str())));
  co_return Result<>();
}

net::Task<state::BlobsAnswer> Client::list_blobs(ShardId shard, state::ListBlobs query, Read read) {
  auto answer = co_await ask(shard, std::move(query), read);
  co_return answer;
}

// ---- tasks

net::Task<state::TasksAnswer> Client::list_tasks(ShardId shard, state::ListTasks query, Read read) {
  auto answer = co_await ask(shard, std::move(query), read);
  co_return answer;
}

net::Task<state::Task> Client::claim_task(ShardId shard, state::TaskKey key, std::uint64_t revision,
                                          std::string claimant, Duration lasts) {
  state::ClaimTask command{key, revision, std::move(claimant), lasts};
  KR_CO_TRY(auto outcome, co_await propose_to(shard, std::move(command)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, fmt::format("claim of task {}", key.id())));
  if (!outcome.task) co_return fail(Code::kInternal, "claim of task {}: the outcome has no task", key.id());
  co_return state::Task{key, *std::move(outcome.task)};
}

net::Task<> Client::finish_task(ShardId shard, state::TaskKey key, std::uint64_t revision) {
  state::FinishTask command{key, revision};
  KR_CO_TRY(auto outcome, co_await propose_to(shard, std::move(command)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, fmt::format("end of task {}", key.id())));
  co_return Result<>();
}

net::Task<> Client::postpone_task(ShardId shard, state::TaskKey key, std::uint64_t revision, Duration delay,
                                  std::string error) {
  state::PostponeTask command{key, revision, delay, std::move(error)};
  KR_CO_TRY(auto outcome, co_await propose_to(shard, std::move(command)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, fmt::format("delay of task {}", key.id())));
  co_return Result<>();
}

net::Task<> Client::add_task(ShardId shard, state::TaskRow task, Duration delay) {
  const std::string what = fmt::format("new task {}", state::name(task.kind));
  state::AddTask command{std::move(task), delay};
  KR_CO_TRY(auto outcome, co_await propose_to(shard, std::move(command)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, what));
  co_return Result<>();
}

net::Task<Duration> Client::tick(ShardId shard) {
  state::Tick command;
  KR_CO_TRY(auto outcome, co_await propose_to(shard, command));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, "tick"));
  co_return outcome.now;
}

net::Task<Duration> Client::time(ShardId shard, Read read) {
  state::GetTime question;
  KR_CO_TRY(auto answer, co_await ask(shard, question, read));
  co_return answer.now;
}

// ---- peers

net::Task<> Client::announce(ShardId shard, state::PeerBatch batch) {
  KR_CO_TRY(auto outcome, co_await propose_to(shard, std::move(batch)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, "peer batch"));
  co_return Result<>();
}

net::Task<state::PeersAnswer> Client::list_peers(ShardId shard, state::ListPeers query, Read read) {
  auto answer = co_await ask(shard, std::move(query), read);
  co_return answer;
}

}  // namespace kraken::metadata
