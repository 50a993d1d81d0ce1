#pragma once
// A small world for tests of the state machine: one shard in memory, a few blob stores that are sets of digests, and
// the invariants of lifecycle §8 over both.

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/metadata/state/keys.h"
#include "src/metadata/state/machine.h"
#include "tests/unit/src/metadata/fake_port.h"

namespace kraken::metadata::state::test {

using kraken::metadata::test::MapView;
using namespace std::chrono_literals;

inline Digest digest(int i) { return Digest::of("blob " + std::to_string(i)); }
inline Repository repository(std::string_view name = "library/app") { return Repository::parse(name).value(); }
inline TagName tag(std::string_view name = "v1") { return TagName::parse(name).value(); }
inline StoreId store(int i) {
  StoreId::Raw raw{};
  raw[15] = static_cast<std::uint8_t>(i);
  return StoreId(raw);
}
inline Holder holder(int i) { return {store(i), "origin" + std::to_string(i), false}; }
inline MetaInfo metainfo(const Digest& of, std::uint64_t piece_length = 4) {
  MetaInfo info;
  info.digest = of;
  info.length = 8;
  info.piece_length = piece_length;
  info.piece_sums.resize(8 / piece_length, 7);
  return info;
}

class World {
 public:
  explicit World(Rules rules = {}, Observer* observer = nullptr) : machine(Shards::make(1).value(), observer, rules) {}

  std::size_t operations = 0;  // of the last command's batch
  Outcome apply(const Command& command) { return apply_bytes(encode(command)); }
  Outcome apply_bytes(std::string_view bytes) {
    kv::Overlay overlay(rows);
    const std::string outcome = machine.apply({shard, ++index, now}, bytes, overlay);
    const kv::Batch batch = overlay.take_batch();
    operations = batch.operations().size();
    rows.write(batch);
    machine.applied(shard);
    ++changes;
    return decode_outcome(outcome).value();
  }
  template <class Q>
  typename Q::Answer ask(const Q& question) const {
    const Answer answer = decode_answer(machine.query(shard, encode(Query(question)), rows, now)).value();
    return std::get<typename Q::Answer>(answer);
  }
  std::optional<BlobRow> blob(const Digest& of) const { return ask(GetBlob{of, false}).row; }
  std::vector<Task> tasks(std::optional<TaskKind> kind = {}) const {
    return ask(ListTasks{false, kind, {}, kPageMax}).tasks;
  }

  PushId push() { return {now, ++random}; }
  std::uint64_t arrive(const Digest& of, const PushId& id) { return apply(Arrive{of, id}).blob.value().generation; }
  Outcome commit(const Digest& of, const PushId& id, std::uint64_t generation, std::vector<Holder> holders,
                 std::uint32_t owners = 2) {
    return apply(Commit{of, id, generation, std::move(holders), metainfo(of), owners, {}, kMarkTime});
  }
  /// A whole push: files on the stores, the record live.
  PushId push_blob(const Digest& of, const std::vector<int>& stores) {
    const PushId id = push();
    const std::uint64_t generation = arrive(of, id);
    std::vector<Holder> holders;
    for (const int i : stores) {
      place(i, of);
      holders.push_back(holder(i));
    }
    commit(of, id, generation, std::move(holders));
    return id;
  }
  Outcome add_ref(const Digest& of, const Digest& manifest, const PushId& id, const Repository& in = repository()) {
    return apply(AddRef{of, {in, manifest, id}});
  }
  PutManifest put_command(const Digest& manifest, std::vector<Digest> references, const PushId& id,
                          std::vector<TagName> tags = {tag()}) const {
    PutManifest put;
    put.repository = repository();
    put.manifest = manifest;
    put.push = id;
    put.media_type = "application/vnd.oci.image.manifest.v1+json";
    put.size = 8;
    put.references = std::move(references);
    put.tags = std::move(tags);
    return put;
  }
  /// References and row. The blobs must be there.
  PushId push_manifest(const Digest& manifest, const std::vector<Digest>& references) {
    const PushId id = push();
    for (const Digest& of : references) add_ref(of, manifest, id);
    add_ref(manifest, manifest, id);
    apply(put_command(manifest, references, id));
    return id;
  }

  void place(int at, const Digest& of) {
    files.insert({at, of});
    ++changes;
  }
  void unlink(int at, const Digest& of) {
    files.erase({at, of});
    ++changes;
  }
  bool has_file(int at, const Digest& of) const { return files.contains({at, of}); }

  /// Somebody was told that the blob is there, and it must be until then (a 201, or the 200 of a HEAD).
  void promise(const Digest& of, Duration until) {
    promises.push_back({of, until});
    ++changes;
  }

  /// What is broken, in words; empty if nothing is.
  std::string broken() const;

  MapView rows;
  Machine machine;
  ShardId shard{1};
  std::uint64_t index = 0;
  std::uint64_t random = 0;
  std::uint64_t changes = 0;  // of rows, files and promises: nothing can have broken without one
  Duration now = 1s;
  std::set<std::pair<int, Digest>> files;
  std::set<int> retired;  // stores whose disk is gone
  std::vector<std::pair<Digest, Duration>> promises;

 private:
  bool held(const Digest& of, const BlobRow& row) const {
    return std::ranges::any_of(row.holders, [&](const Holder& h) { return files.contains({number(h.store), of}); });
  }
  static int number(const StoreId& id) { return static_cast<std::uint8_t>(id.raw()[15]); }
};

inline std::string World::broken() const {
  for (const auto& [key, value] : rows.rows(kv::Family::kBlob)) {
    const auto of = keys::parse_blob(key);
    if (!of) continue;
    const auto row = decode<BlobRow>(value);
    if (!row) return "a blob row does not decode";
    for (const Holder& h : row->holders) {
      if (retired.contains(number(h.store)) || has_file(number(h.store), *of)) continue;
      return fmt::format("I6: {} names store {}, which has no file", of->str(), number(h.store));
    }
  }
  for (const auto& [key, value] : rows.rows(kv::Family::kManifest)) {
    const auto parts = keys::parse_manifest(key);
    const auto row = decode<ManifestRow>(value);
    if (!parts || !row) return "a manifest row does not decode";
    if (row->tombstone) continue;
    std::vector<Digest> needs = row->references;
    needs.push_back(parts->manifest);
    for (const Digest& of : needs) {
      const auto ref =
          rows.get(kv::Family::kRef, keys::ref(shard, of, {parts->repository, parts->manifest, row->push})).value();
      if (!ref) return fmt::format("I5: {} lacks its reference to {}", parts->manifest.str(), of.str());
      const auto bytes = rows.get(kv::Family::kBlob, keys::blob(shard, of)).value();
      if (!bytes) return fmt::format("I1: {} needs {}, which has no record", parts->manifest.str(), of.str());
      const auto record = decode<BlobRow>(*bytes).value();
      if (record.state != BlobState::kLive)
        return fmt::format("I1: {} needs {}, which is not live", parts->manifest.str(), of.str());
      if (!held(of, record)) return fmt::format("I1: {} needs {}, which nobody has", parts->manifest.str(), of.str());
    }
  }
  std::size_t named = 0;
  for (const auto& [key, value] : rows.rows(kv::Family::kTag)) {
    const auto parts = keys::parse_tag(key);
    if (!parts) continue;
    const auto row = decode<TagRow>(value).value();
    if (row.tombstone) continue;
    ++named;
    if (!rows.get(kv::Family::kManifest, keys::manifest(shard, parts->repository, row.digest)).value())
      return fmt::format("I1: tag {} names {}, which the repository lacks", parts->tag.str(), row.digest.str());
    if (!rows.get(kv::Family::kTag, keys::tag_by_manifest(shard, parts->repository, row.digest, parts->tag)).value())
      return fmt::format("tag {} is not found by its manifest", parts->tag.str());
  }
  std::size_t by_manifest = 0;
  for (const auto& [key, value] : rows.rows(kv::Family::kTag)) by_manifest += keys::parse_tag_by_manifest(key) ? 1 : 0;
  if (named != by_manifest) return fmt::format("{} tags, {} of them by manifest", named, by_manifest);
  for (const auto& [of, until] : promises) {
    if (now >= until) continue;
    const auto bytes = rows.get(kv::Family::kBlob, keys::blob(shard, of)).value();
    if (!bytes || !decode<BlobRow>(*bytes).value().readable())
      return fmt::format("I2: {} was promised and has no record", of.str());
    if (!held(of, decode<BlobRow>(*bytes).value()))
      return fmt::format("I2: {} was promised and nobody has it", of.str());
  }
  return {};
}

}  // namespace kraken::metadata::state::test
