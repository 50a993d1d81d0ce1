#include "src/metadata/manifest_push.h"

#include <algorithm>

#include "src/core/manifest.h"
#include "src/metadata/parallel.h"

namespace kraken::metadata {
namespace {

using state::Refusal;

// References of one manifest that are added at once.
constexpr std::size_t kAtOnce = 64;
// A push that begins again because its push id got too old; twice in a row says that something else is wrong.
constexpr int kTries = 3;

struct Tagged {
  bool has_manifest = false;
  ManifestPushed pushed;
  Duration now{};  // of the repository's shard
};

// If the repository has the manifest, naming it is one entry. If not, that entry's time makes the push id: a read's
// could be hours old where the shard is quiet.
net::Task<Tagged> tag_what_is_there(Client& client, ManifestPush push) {
  state::Retag command{push.repository, push.tags, push.manifest, push.expect, push.tasks, push.media_type.empty()};
  KR_CO_TRY(auto outcome, co_await client.propose(std::move(command)));
  Tagged tagged;
  tagged.now = outcome.now;
  if (outcome.refusal == Refusal::kNoManifest) co_return tagged;
  if (!outcome.done() && outcome.refusal != Refusal::kRevision)
    co_return std::unexpected(state::error_of(outcome, "tag of " + push.repository.str()));
  tagged.has_manifest = true;
  tagged.pushed.what = outcome.done() ? ManifestPushed::What::kStored : ManifestPushed::What::kConflict;
  tagged.pushed.tag = std::move(outcome.tag);
  co_return tagged;
}

// The same for a push by digest alone: nothing is left to do if the row is there.
net::Task<Tagged> find_what_is_there(Client& client, ManifestPush push) {
  KR_CO_TRY(const auto found, co_await client.get_manifest(push.repository, push.manifest));
  Tagged tagged;
  tagged.has_manifest = found.row && (!found.row->opaque() || push.media_type.empty());
  if (tagged.has_manifest) co_return tagged;
  const ShardId shard = client.shards().of(push.repository);
  KR_CO_TRY(tagged.now, co_await client.tick(shard));
  co_return tagged;
}

// Which of them have no record. Whatever else goes wrong is kUnavailable: nobody has seen anything of this push yet.
net::Task<std::vector<Digest>> add_refs(Client& client, std::vector<Digest> digests, state::RefName ref) {
  std::vector<net::Task<state::Outcome>> proposals;
  for (const Digest& digest : digests) {
    state::AddRef command{digest, ref};
    proposals.push_back(client.propose(std::move(command)));
  }
  const auto outcomes = co_await parallel(std::move(proposals), kAtOnce);
  std::vector<Digest> missing;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const auto& outcome = outcomes[i];
    if (!outcome) {
      const bool known = outcome.error().code == Code::kDiskFull || outcome.error().code == Code::kOverloaded ||
                         outcome.error().code == Code::kCancelled;
      const Code code = known ? outcome.error().code : Code::kUnavailable;
      co_return fail(code, "reference to {}: {}", digests[i].str(), outcome.error().detail);
    }
    if (outcome->refusal == Refusal::kNoRecord || outcome->refusal == Refusal::kWrongState)
      missing.push_back(digests[i]);
    else if (!outcome->done())
      co_return std::unexpected(state::error_of(*outcome, "reference to " + digests[i].str()));
  }
  co_return missing;
}

}  // namespace

net::Task<ManifestPushed> push_manifest(Client& client, ManifestPush push) {
  if (push.tags.size() > state::kTagsMax)
    co_return fail(Code::kInvalidArgument, "{} tags in one push; at most {}", push.tags.size(), state::kTagsMax);
  if (push.references.size() > kManifestReferencesMax)
    co_return fail(Code::kInvalidArgument, "{} references; at most {}", push.references.size(), kManifestReferencesMax);
  const std::string what = fmt::format("push of {}@{}", push.repository.str(), push.manifest.str());
  std::vector<Digest> digests = push.references;
  std::erase(digests, push.manifest);
  digests.push_back(push.manifest);

  for (int tries = 0; tries < kTries; ++tries) {
    net::Task<Tagged> look = push.tags.empty() ? find_what_is_there(client, push) : tag_what_is_there(client, push);
    KR_CO_TRY(Tagged there, co_await std::move(look));
    if (there.has_manifest) co_return std::move(there.pushed);

    const PushId id = client.new_push(there.now);
    state::RefName ref{push.repository, push.manifest, id};
    KR_CO_TRY(auto missing, co_await add_refs(client, digests, std::move(ref)));
    if (!missing.empty()) co_return ManifestPushed{ManifestPushed::What::kMissing, std::move(missing), std::nullopt};

    state::PutManifest command{push.repository, push.manifest, id,        push.media_type, push.size,
                               push.references, push.subject,  push.tags, push.expect,     push.tasks};
    KR_CO_TRY(auto outcome, co_await client.propose(std::move(command)));
    if (outcome.refusal == Refusal::kPushTooOld) continue;
    if (outcome.refusal == Refusal::kRevision)
      co_return ManifestPushed{ManifestPushed::What::kConflict, {}, std::move(outcome.tag)};
    if (!outcome.done()) co_return std::unexpected(state::error_of(outcome, what));
    co_return ManifestPushed{ManifestPushed::What::kStored, {}, std::move(outcome.tag)};
  }
  co_return fail(Code::kUnavailable, "{}: took too long; try again", what);
}

}  // namespace kraken::metadata
