#include "src/metadata/ref_sweeper.h"

#include "src/metadata/parallel.h"
#include "src/metadata/state/sweep.h"

namespace kraken::metadata {
namespace {

constexpr std::size_t kAtOnce = 64;

// The command ended the task, unless there was no such reference any more: then it still stands.
net::Task<> end_task(Client& client, ShardId shard, state::Task task) {
  auto ended = co_await client.finish_task(shard, task.key, task.row.revision);
  if (!ended && ended.error().code == Code::kNotFound) co_return Result<>();
  co_return ended;
}

}  // namespace

net::Task<Swept> verify_ref(Client& client, state::Task task) {
  const state::TaskRow row = task.row;
  const ShardId here = client.shards().of(row.digest);
  const ShardId there = client.shards().of(row.repository);
  state::Query question = state::GetManifest{row.repository, row.manifest};
  KR_CO_TRY(const state::Answer answer, co_await client.query(there, std::move(question), Read::kLinearizable));
  const auto* manifest = std::get_if<state::ManifestAnswer>(&answer);
  if (manifest == nullptr) co_return fail(Code::kCorrupt, "verify of a reference: an answer to another question");
  const state::RefName ref{row.repository, row.manifest, row.push};

  const state::Sweep decision = state::sweep(row.push, manifest->row, manifest->now);
  if (decision == state::Sweep::kLater) {
    // Time stands still in a quiet shard.
    KR_CO_TRY(const Duration now, co_await client.tick(there));
    const Duration wait = std::max<Duration>(row.push.time + state::kPushIdLimit - now, std::chrono::seconds(1));
    KR_CO_CHECK(co_await client.postpone_task(here, task.key, row.revision, wait, ""));
    co_return Swept::kLater;
  }
  state::Command command = state::Verified{row.digest, ref};
  if (decision == state::Sweep::kRemove) command = state::RemoveRef{row.digest, ref};
  KR_CO_TRY(const auto outcome, co_await client.propose(std::move(command)));
  if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, "verify of a reference"));
  KR_CO_CHECK(co_await end_task(client, here, std::move(task)));
  co_return decision == state::Sweep::kKeep ? Swept::kKept : Swept::kRemoved;
}

net::Task<Swept> remove_refs(Client& client, state::Task task) {
  const state::RefName ref{task.row.repository, task.row.manifest, task.row.push};
  std::vector<net::Task<state::Outcome>> proposals;
  for (const Digest& digest : task.row.digests) {
    state::RemoveRef command{digest, ref};
    proposals.push_back(client.propose(std::move(command)));
  }
  const auto outcomes = co_await parallel(std::move(proposals), kAtOnce);
  for (const auto& outcome : outcomes) {
    if (!outcome) co_return std::unexpected(outcome.error());
    if (!outcome->done()) co_return std::unexpected(state::error_of(*outcome, "removal of a reference"));
  }
  const ShardId shard = client.shards().of(task.row.repository);
  KR_CO_CHECK(co_await end_task(client, shard, std::move(task)));
  co_return Swept::kRemoved;
}

}  // namespace kraken::metadata
