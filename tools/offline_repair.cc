#include "tools/offline_repair.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "consensus/group/identity.h"
#include "consensus/group/log_store.h"
#include "src/base/file.h"
#include "src/base/hex.h"
#include "src/metadata/state/keys.h"
#include "src/metadata/state/rows.h"
#include "src/metadata/state/shards.h"
#include "storage/blob/store.h"
#include "storage/kv/rocksdb/open.h"

namespace kraken::tools {
namespace {

namespace fs = std::filesystem;
namespace state = metadata::state;

struct Opened {
  const StoppedNode* node = nullptr;
  std::unique_ptr<kv::Store> store;      // null: no metadata was given
  std::optional<StoreId> store_id;       // none: an empty folder
  std::map<Digest, std::uint64_t> files;  // digest -> bytes
};

fs::path path_of(const fs::path& blobs, const Digest& digest) {
  const std::string hex = digest.hex();
  return blobs / hex.substr(0, 2) / hex.substr(2, 2) / hex;
}

Result<std::map<Digest, std::uint64_t>> files_of(const fs::path& blobs) {
  std::map<Digest, std::uint64_t> found;
  std::error_code ec;
  if (!fs::exists(blobs, ec)) return found;
  fs::recursive_directory_iterator at(blobs, ec), end;
  for (; !ec && at != end; at.increment(ec)) {
    const auto digest = Digest::from_hex(at->path().filename().string());
    std::error_code no_size;
    const std::uint64_t bytes = at->file_size(no_size);
    if (digest && !no_size && at->path() == path_of(blobs, *digest)) found.emplace(*digest, bytes);
  }
  if (ec) return fail_errno(ec.value(), fmt::format("read folder {}", blobs.string()));
  return found;
}

Result<std::optional<StoreId>> store_id_of(const fs::path& blobs) {
  const fs::path path = blobs / "store_id";
  std::error_code ec;
  if (!fs::exists(path, ec)) return std::optional<StoreId>{};
  KR_TRY(std::string text, file::read_all(path, 256));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  KR_TRY(const StoreId id, StoreId::parse(text));
  return std::optional(id);
}

Result<Opened> open(const StoppedNode& node) {
  Opened opened;
  opened.node = &node;
  if (!node.metadata.empty()) {
    kv::RocksOptions options;
    options.read_only = true;
    auto store = kv::open_rocksdb(node.metadata, options);
    if (!store) return std::unexpected(std::move(store).error().within(node.label));
    opened.store = *std::move(store);
  }
  KR_TRY(opened.store_id, store_id_of(node.blobs));
  KR_TRY(opened.files, files_of(node.blobs));
  return opened;
}

/// The given replica of the shard that has applied most; null: none has it.
Result<const kv::View*> best_view(const std::vector<Opened>& nodes, kv::ShardId shard) {
  const kv::View* best = nullptr;
  std::uint64_t furthest = 0;
  for (const Opened& node : nodes) {
    if (!node.store) continue;
    KR_TRY(const group::AppliedState applied, group::load_applied(*node.store, shard));
    if (raw(applied.index) <= furthest) continue;
    furthest = raw(applied.index);
    best = node.store.get();
  }
  return best;
}

class Look {
 public:
  Look(const std::vector<Opened>& nodes, const ring::Ring& ring, std::size_t max_replica, OfflineReport& report)
      : nodes_(nodes), ring_(ring), max_replica_(max_replica), report_(report) {}

  void record(const Digest& digest, const state::BlobRow& row) {
    ++report_.records;
    known_.insert(digest);
    if (!row.readable()) return;  // its push did not end: the node decides, when it runs
    const std::vector<std::string> owners = ring_.owners(digest, max_replica_);
    const std::string from = source(digest, row.size);
    for (const Opened& node : nodes_) {
      const std::string& label = node.node->label;
      const auto file = node.files.find(digest);
      const bool is_owner = std::ranges::find(owners, label) != owners.end();
      const bool named = node.store_id && row.holder(*node.store_id) != nullptr;
      if (file != node.files.end() && file->second != row.size) {
        add(OfflineFinding::Kind::kWrongSize, label, digest, row.size, from);
      } else if (file == node.files.end()) {
        if (is_owner || named) add(OfflineFinding::Kind::kMissing, label, digest, row.size, from);
      } else if (!is_owner) {
        add(OfflineFinding::Kind::kSurplus, label, digest, row.size, {});
      } else if (!named) {
        add(OfflineFinding::Kind::kUnnamed, label, digest, row.size, {});
      }
    }
    const bool elsewhere = std::ranges::any_of(row.holders, [&](const state::Holder& holder) { return !given(holder.store); });
    if (from.empty() && !elsewhere) ++report_.without_copy;
  }

  /// Files of the shard's digests that no record was seen of.
  void orphans(std::uint16_t first, std::uint16_t last) {
    for (const Opened& node : nodes_) {
      for (const auto& [digest, bytes] : node.files) {
        if (digest.prefix() < first || digest.prefix() > last || known_.contains(digest)) continue;
        add(OfflineFinding::Kind::kNoRecord, node.node->label, digest, bytes, {});
      }
    }
    known_.clear();
  }

 private:
  bool given(const StoreId& store) const {
    return std::ranges::any_of(nodes_, [&](const Opened& node) { return node.store_id == store; });
  }
  std::string source(const Digest& digest, std::uint64_t bytes) const {
    for (const Opened& node : nodes_) {
      const auto file = node.files.find(digest);
      if (file != node.files.end() && file->second == bytes) return node.node->label;
    }
    return {};
  }
  void add(OfflineFinding::Kind kind, const std::string& label, const Digest& digest, std::uint64_t bytes, const std::string& from) {
    report_.findings.push_back({.kind = kind, .label = label, .digest = digest, .bytes = bytes, .from = from});
  }

  const std::vector<Opened>& nodes_;
  const ring::Ring& ring_;
  const std::size_t max_replica_;
  OfflineReport& report_;
  std::set<Digest> known_;  // of the shard under way
};

Result<std::uint16_t> shards_of(const std::vector<Opened>& nodes) {
  for (const Opened& node : nodes) {
    if (!node.store) continue;
    KR_TRY(const auto loaded, group::load_identity(*node.store));
    if (loaded.identity) return loaded.identity->shards;
  }
  return fail(Code::kInvalidArgument, "no node's metadata was given, so nobody knows which blobs there are: --data LABEL=METADATA,BLOBS");
}

Result<> copy_one(const fs::path& from, blob::Store& to, const OfflineFinding& finding) {
  KR_TRY(const UniqueFd source, file::open(path_of(from, finding.digest), O_RDONLY));
  KR_TRY(auto upload, to.create_upload("repair-" + finding.digest.hex(), finding.bytes));
  std::string buffer(1u << 20, '\0');
  for (std::uint64_t at = 0;;) {
    KR_TRY(const std::size_t got, file::read_at(source.get(), std::span(buffer), at));
    if (got == 0) break;
    KR_CHECK(upload->append(std::string_view(buffer).substr(0, got)));
    at += got;
  }
  KR_CHECK(upload->finish(finding.digest));
  return upload->place();
}

}  // namespace

std::string_view name(OfflineFinding::Kind kind) {
  switch (kind) {
    case OfflineFinding::Kind::kMissing: return "missing";
    case OfflineFinding::Kind::kWrongSize: return "wrong size";
    case OfflineFinding::Kind::kSurplus: return "surplus";
    case OfflineFinding::Kind::kUnnamed: return "unnamed";
    case OfflineFinding::Kind::kNoRecord: return "no record";
  }
  return "";
}

Result<StoppedNode> parse_stopped_node(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::size_t comma = text.find(',', equals == std::string_view::npos ? 0 : equals);
  if (equals == std::string_view::npos || comma == std::string_view::npos || equals == 0 || comma + 1 == text.size()) {
    return fail(Code::kInvalidArgument, "--data is LABEL=METADATA,BLOBS (two folders of a stopped node), not {}", text);
  }
  return StoppedNode{.label = std::string(text.substr(0, equals)),
                     .metadata = std::string(text.substr(equals + 1, comma - equals - 1)),
                     .blobs = std::string(text.substr(comma + 1))};
}

Result<OfflineReport> look_offline(const std::vector<StoppedNode>& nodes, const ring::Ring& ring, std::size_t max_replica) {
  std::vector<Opened> opened;
  for (const StoppedNode& node : nodes) {
    KR_TRY(auto one, open(node));
    opened.push_back(std::move(one));
  }
  OfflineReport report;
  KR_TRY(report.shards, shards_of(opened));
  for (const Opened& node : opened) report.files += node.files.size();
  KR_TRY(const auto shards, metadata::Shards::make(report.shards));
  Look look(opened, ring, max_replica, report);
  for (std::uint32_t i = 0; i < shards.count(); ++i) {
    const kv::ShardId shard = shards.at(i);
    KR_TRY(const kv::View* view, best_view(opened, shard));
    if (view == nullptr) continue;
    ++report.shards_read;
    const state::keys::Range range = state::keys::blobs(shard);
    Result<> good;
    KR_CHECK(view->scan(kv::Family::kBlob, range.from, range.to, false, [&](std::string_view key, std::string_view value) {
      const auto digest = state::keys::parse_blob(key);
      auto row = state::decode<state::BlobRow>(value);
      if (!digest || !row) {
        good = fail(Code::kCorrupt, "shard {}: a blob's record cannot be read", shard.value());
        return false;
      }
      look.record(*digest, *row);
      return true;
    }));
    KR_CHECK(good);
    const auto [first, last] = shards.prefixes(shard);
    look.orphans(first, last);
  }
  std::ranges::sort(report.findings, [](const OfflineFinding& a, const OfflineFinding& b) { return std::tie(a.digest, a.label) < std::tie(b.digest, b.label); });
  return report;
}

Result<> copy_offline(const std::vector<StoppedNode>& nodes, const OfflineReport& report,
                      const std::function<void(const OfflineFinding&, const Result<>&)>& each) {
  std::map<std::string, std::unique_ptr<blob::Store>> stores;
  const auto blobs_of = [&](const std::string& label) { return std::ranges::find(nodes, label, &StoppedNode::label)->blobs; };
  for (const OfflineFinding& finding : report.findings) {
    if (finding.kind != OfflineFinding::Kind::kMissing && finding.kind != OfflineFinding::Kind::kWrongSize) continue;
    if (finding.from.empty()) {
      each(finding, fail(Code::kNotFound, "none of the given folders has it"));
      continue;
    }
    auto& store = stores[finding.label];
    if (!store) {
      const fs::path blobs = blobs_of(finding.label);
      auto opened = blob::Store::open({.path = blobs, .uploads_path = blobs.parent_path() / "uploads"});
      if (!opened) return std::unexpected(std::move(opened).error().within(finding.label));
      store = *std::move(opened);
    }
    if (finding.kind == OfflineFinding::Kind::kWrongSize) KR_CHECK(store->set_aside(finding.digest));
    each(finding, copy_one(blobs_of(finding.from), *store, finding));
  }
  return {};
}

}  // namespace kraken::tools
