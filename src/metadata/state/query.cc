// Reads of one shard.

#include <algorithm>

#include "src/metadata/state/keys.h"
#include "src/metadata/state/machine.h"

namespace kraken::metadata::state {
namespace {

using kv::Family;

// An answer stays well below a frame between nodes.
constexpr std::size_t kPageBytesMax = 2u << 20;

class Reading {
 public:
  Reading(ShardId shard, const kv::View& rows, Duration now) : shard_(shard), rows_(rows), now_(now) {}

  Result<Answer> on(const GetTag& query) const;
  Result<Answer> on(const ListTags& query) const;
  Result<Answer> on(const ListRepositories& query) const;
  Result<Answer> on(const GetManifest& query) const;
  Result<Answer> on(const GetBlob& query) const;
  Result<Answer> on(const GetMetainfo& query) const;
  Result<Answer> on(const ListBlobs& query) const;
  Result<Answer> on(const ListTasks& query) const;
  Result<Answer> on(const ListPeers& query) const;
  Result<Answer> on(const GetTime&) const { return TimeAnswer{{now_}}; }

 private:
  template <class Row>
  Result<std::optional<Row>> read(Family family, const std::string& key) const {
    KR_TRY(const auto bytes, rows_.get(family, key));
    if (!bytes) return std::optional<Row>();
    KR_TRY(Row row, decode<Row>(*bytes));
    return std::optional<Row>(std::move(row));
  }

  // Calls each(key, row) until it gives false; a row or key that cannot be read ends the scan with an error.
  template <class Row, class Each>
  Result<> each_row(Family family, const std::string& from, const std::string& to, Each each) const {
    Result<> outcome;
    KR_CHECK(rows_.scan(family, from, to, false, [&](std::string_view key, std::string_view value) {
      auto row = decode<Row>(value);
      if (!row) {
        outcome = std::unexpected(std::move(row).error());
        return false;
      }
      Result<bool> more = each(key, *std::move(row));
      if (!more) outcome = std::unexpected(std::move(more).error());
      return more.value_or(false);
    }));
    return outcome;
  }

  Result<bool> any(Family family, const keys::Range& range) const {
    bool found = false;
    KR_CHECK(rows_.scan(family, range.from, range.to, false, [&found](std::string_view, std::string_view) {
      found = true;
      return false;
    }));
    return found;
  }

  ShardId shard_;
  const kv::View& rows_;
  Duration now_;
};

template <class Parts>
Result<Parts> parsed(std::optional<Parts> parts, std::string_view what) {
  if (!parts) return fail(Code::kCorrupt, "{} key", what);
  return *std::move(parts);
}

Result<Answer> Reading::on(const GetTag& query) const {
  TagAnswer answer{{now_}, {}};
  KR_TRY(answer.row, read<TagRow>(Family::kTag, keys::tag(shard_, query.repository, query.tag)));
  return answer;
}

Result<Answer> Reading::on(const ListTags& query) const {
  TagsAnswer answer;
  answer.now = now_;
  const std::uint32_t limit = std::min(query.limit, kPageMax);
  const keys::Range range = keys::tags(shard_, query.repository);
  const std::string from = keys::tag_after(shard_, query.repository, query.after);
  KR_CHECK(each_row<TagRow>(Family::kTag, std::max(from, range.from), range.to,
                            [&](std::string_view key, TagRow row) -> Result<bool> {
                              if (row.tombstone) return true;
                              if (answer.tags.size() >= limit) {
                                answer.more = true;
                                return false;
                              }
                              KR_TRY(auto parts, parsed(keys::parse_tag(key), "tag"));
                              answer.tags.push_back({std::move(parts.tag), std::move(row)});
                              return true;
                            }));
  answer.repository_known = !answer.tags.empty();
  if (!answer.repository_known) {
    KR_TRY(const bool tags, any(Family::kTag, range));
    KR_TRY(const bool manifests, any(Family::kManifest, keys::manifests(shard_, query.repository)));
    answer.repository_known = tags || manifests;
  }
  return answer;
}

Result<Answer> Reading::on(const ListRepositories& query) const {
  RepositoriesAnswer answer;
  answer.now = now_;
  const std::uint32_t limit = std::min(query.limit, kPageMax);
  const keys::Range range = keys::tags(shard_);
  std::string from = keys::repository_after(shard_, query.after);
  // One seek a repository: its first tag that is no tombstone.
  for (;;) {
    std::optional<Repository> next;
    KR_CHECK(each_row<TagRow>(Family::kTag, std::max(from, range.from), range.to,
                              [&](std::string_view key, const TagRow& row) -> Result<bool> {
                                if (row.tombstone) return true;
                                KR_TRY(auto parts, parsed(keys::parse_tag(key), "tag"));
                                next = std::move(parts.repository);
                                return false;
                              }));
    if (!next) return answer;
    if (answer.repositories.size() >= limit) {
      answer.more = true;
      return answer;
    }
    from = keys::repository_after(shard_, next->str());
    answer.repositories.push_back(*std::move(next));
  }
}

Result<Answer> Reading::on(const GetManifest& query) const {
  ManifestAnswer answer{{now_}, {}};
  KR_TRY(answer.row, read<ManifestRow>(Family::kManifest, keys::manifest(shard_, query.repository, query.manifest)));
  return answer;
}

Result<Answer> Reading::on(const GetBlob& query) const {
  BlobAnswer answer;
  answer.now = now_;
  KR_TRY(answer.row, read<BlobRow>(Family::kBlob, keys::blob(shard_, query.digest)));
  if (query.with_metainfo) {
    KR_TRY(answer.metainfo, read<MetainfoRow>(Family::kMetainfo, keys::metainfo(shard_, query.digest)));
  }
  if (!answer.row) return answer;
  const keys::Range marks = keys::marks(shard_, query.digest);
  KR_CHECK(
      each_row<MarkRow>(Family::kBlob, marks.from, marks.to, [&](std::string_view key, MarkRow row) -> Result<bool> {
        if (answer.marks.size() >= kMarksShown) return false;
        KR_TRY(const auto parts, parsed(keys::parse_mark(key), "mark"));
        answer.marks.push_back({parts.push, row});
        return true;
      }));
  KR_TRY(answer.referenced, any(Family::kRef, keys::refs(shard_, query.digest)));
  return answer;
}

Result<Answer> Reading::on(const GetMetainfo& query) const {
  MetainfoAnswer answer{{now_}, {}};
  KR_TRY(answer.row, read<MetainfoRow>(Family::kMetainfo, keys::metainfo(shard_, query.digest)));
  return answer;
}

Result<Answer> Reading::on(const ListBlobs& query) const {
  BlobsAnswer answer;
  answer.now = now_;
  const std::uint32_t limit = std::min(query.limit, kPageMax);
  const keys::Range range = keys::blobs(shard_);
  std::string from = range.from;
  // A key has no longer one that begins with it, so the next possible one is one byte longer.
  if (query.after) from = keys::blob(shard_, *query.after) + '\0';
  KR_CHECK(each_row<BlobRow>(Family::kBlob, from, range.to, [&](std::string_view key, BlobRow row) -> Result<bool> {
    if (answer.blobs.size() >= limit) {
      answer.more = true;
      return false;
    }
    KR_TRY(const Digest digest, parsed(keys::parse_blob(key), "blob"));
    answer.blobs.push_back({digest, std::move(row)});
    return true;
  }));
  return answer;
}

Result<Answer> Reading::on(const ListTasks& query) const {
  TasksAnswer answer;
  answer.now = now_;
  const std::uint32_t limit = std::min(query.limit, kPageMax);
  const keys::Range range = keys::tasks(shard_);
  const std::string from = query.after ? keys::task(shard_, *query.after) + '\0' : range.from;
  const auto later = [&answer](Duration when) {
    if (!answer.next_due || when < *answer.next_due) answer.next_due = when;
  };
  std::size_t bytes = 0;
  KR_CHECK(each_row<TaskRow>(Family::kTask, from, range.to, [&](std::string_view key, TaskRow row) -> Result<bool> {
    KR_TRY(const TaskKey parts, parsed(keys::parse_task(key), "task"));
    if (query.runnable && parts.due > now_) {
      later(parts.due);
      return false;
    }
    if (query.kind && row.kind != *query.kind) return true;
    if (query.runnable && row.claim && row.claim->until > now_) {
      later(row.claim->until);
      return true;
    }
    if (answer.tasks.size() >= limit || bytes > kPageBytesMax) {
      answer.more = true;
      return false;
    }
    bytes += 256 + row.digests.size() * 32;
    answer.tasks.push_back({parts, std::move(row)});
    return true;
  }));
  return answer;
}

Result<Answer> Reading::on(const ListPeers& query) const {
  PeersAnswer answer;
  answer.now = now_;
  const std::uint32_t limit = std::min(query.limit, kPageMax);
  const keys::Range range = query.infohash ? keys::peers(shard_, *query.infohash) : keys::peers(shard_);
  std::string from = range.from;
  if (query.after_infohash && query.after_peer)
    from = std::max(from, keys::peer(shard_, *query.after_infohash, *query.after_peer) + '\0');
  KR_CHECK(each_row<PeerRow>(Family::kPeer, from, range.to, [&](std::string_view key, PeerRow row) -> Result<bool> {
    if (row.expires <= now_) return true;
    if (answer.peers.size() >= limit) {
      answer.more = true;
      return false;
    }
    KR_TRY(const auto parts, parsed(keys::parse_peer(key), "peer"));
    answer.peers.push_back({parts.infohash, parts.peer_id, std::move(row)});
    return true;
  }));
  return answer;
}

bool belongs(const Query& query, ShardId shard, const Shards& shards) {
  return std::visit(
      [&](const auto& q) {
        if constexpr (requires { q.digest; })
          return shards.of(q.digest) == shard;
        else if constexpr (requires { q.repository; })
          return shards.of(q.repository) == shard;
        else
          return true;
      },
      query);
}

}  // namespace

std::string Machine::query(ShardId shard, std::string_view bytes, const kv::View& rows, Duration now) const {
  const auto answer_error = [now](const Error& error) {
    ErrorAnswer answer;
    answer.now = now;
    answer.code = static_cast<std::uint8_t>(error.code);
    answer.detail = error.detail;
    return encode(Answer(std::move(answer)));
  };
  const auto query = decode_query(bytes);
  if (!query) return answer_error(Error{Code::kInvalidArgument, query.error().detail});
  if (!belongs(*query, shard, shards_))
    return answer_error(Error{Code::kInternal, "the query belongs to another shard"});
  const Reading reading(shard, rows, now);
  const Result<Answer> answer = std::visit([&reading](const auto& q) { return reading.on(q); }, *query);
  if (!answer) return answer_error(answer.error());
  return encode(*answer);
}

}  // namespace kraken::metadata::state
