#include "src/metadata/state/describe.h"

#include <algorithm>
#include <variant>

#include "src/base/hex.h"
#include "src/metadata/state/commands.h"
#include "src/metadata/state/keys.h"
#include "storage/kv/keys.h"

namespace kraken::metadata::state {
namespace {

using kv::Family;

std::string seconds(Duration time) { return fmt::format("{:.3f}s", std::chrono::duration<double>(time).count()); }

// What a stranger may have chosen does not reach a terminal as it is.
std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, 300)) {
    if (c >= ' ' && c <= '~' && c != '"' && c != '\\')
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out + '"';
}

std::string list(const std::vector<Digest>& digests) {
  std::vector<std::string> hex;
  for (std::size_t i = 0; i < std::min<std::size_t>(digests.size(), 8); ++i) hex.push_back(digests[i].str());
  if (digests.size() > hex.size()) hex.push_back(fmt::format("and {} more", digests.size() - hex.size()));
  return fmt::format("[{}]", fmt::join(hex, " "));
}

std::string line(const BlobRow& row) {
  std::vector<std::string> holders;
  for (const Holder& holder : row.holders)
    holders.push_back(
        fmt::format("{}@{}{}", holder.store.str(), in_quotes(holder.label), holder.suspect ? "(suspect)" : ""));
  std::string text = fmt::format("state={} size={} generation={} holders=[{}]", name(row.state), row.size,
                                 row.generation, fmt::join(holders, " "));
  for (const std::string& backend : row.backends) text += " backend=" + in_quotes(backend);
  if (row.condemned_at) text += " condemned_at=" + seconds(*row.condemned_at);
  return text;
}

std::string line(const MarkRow& row) { return "deadline=" + seconds(row.deadline); }

std::string line(const TagRow& row) {
  return fmt::format("digest={} revision={} time={}{}", row.digest.str(), row.revision, seconds(row.time),
                     row.tombstone ? " tombstone" : "");
}

std::string line(const ManifestRow& row) {
  std::string text =
      fmt::format("media_type={} size={} push={} revision={} time={} references={}", in_quotes(row.media_type), row.size,
                  row.push.str(), row.revision, seconds(row.time), list(row.references));
  if (row.subject) text += " subject=" + row.subject->str();
  if (row.tombstone) text += " tombstone";
  return text;
}

std::string line(const MetainfoRow& row) {
  return fmt::format("infohash={} length={} piece_length={} pieces={}", row.infohash.hex(), row.length,
                     row.piece_length, row.piece_sums.size());
}

std::string line(const RefRow& row) {
  if (!row.verify) return "verified";
  return fmt::format("verify=task {} due {}", row.verify->id(), seconds(row.verify->due));
}

std::string line(const TaskRow& row) {
  std::string text(name(row.kind));
  if (row.digest != Digest()) text += " digest=" + row.digest.str();
  if (!row.digests.empty()) text += " digests=" + list(row.digests);
  if (!row.repository.str().empty()) text += " repository=" + row.repository.str();
  if (!row.tag.str().empty()) text += fmt::format(" tag={} tag_revision={}", row.tag.str(), row.tag_revision);
  if (row.manifest != Digest()) text += " manifest=" + row.manifest.str() + " push=" + row.push.str();
  if (!row.target.empty()) text += " target=" + in_quotes(row.target);
  text += fmt::format(" created={} revision={}", seconds(row.created), row.revision);
  if (row.failures > 0) text += fmt::format(" failures={} error={}", row.failures, in_quotes(row.error));
  if (row.claim) text += fmt::format(" claimed_by={} until={}", in_quotes(row.claim->claimant), seconds(row.claim->until));
  return text;
}

std::string line(const PeerRow& row) {
  return fmt::format("address={} port={} complete={} expires={}", in_quotes(row.ip), row.port, row.complete,
                     seconds(row.expires));
}

template <class Row>
std::string value_line(std::string_view value) {
  const auto row = decode<Row>(value);
  if (!row) return fmt::format("unreadable ({}): {}", row.error().detail, to_hex(value.substr(0, 64)));
  return line(*row);
}

// Empty for a key that is none of ours.
std::string row_key(Family family, std::string_view key) {
  switch (family) {
    case Family::kTag:
      if (const auto parts = keys::parse_tag(key)) return parts->repository.str() + ":" + parts->tag.str();
      break;
    case Family::kManifest:
      if (const auto parts = keys::parse_manifest(key)) return parts->repository.str() + "@" + parts->manifest.str();
      break;
    case Family::kBlob:
    case Family::kMetainfo:
      if (const auto digest = keys::parse_blob(key)) return digest->str();
      break;
    case Family::kRef:
      if (const auto parts = keys::parse_ref(key))
        return fmt::format("{} for {}@{} push={}", parts->digest.str(), parts->name.repository.str(),
                           parts->name.manifest.str(), parts->name.push.str());
      break;
    case Family::kTask:
      if (const auto parts = keys::parse_task(key)) return fmt::format("{} due={}", parts->id(), seconds(parts->due));
      break;
    case Family::kPeer:
      if (const auto parts = keys::parse_peer(key)) return parts->infohash.hex() + " " + parts->peer_id.hex();
      break;
    case Family::kRaft:
    case Family::kSession:
      break;
  }
  return {};
}

std::string row_value(Family family, std::string_view value) {
  switch (family) {
    case Family::kTag:
      return value_line<TagRow>(value);
    case Family::kManifest:
      return value_line<ManifestRow>(value);
    case Family::kBlob:
      return value_line<BlobRow>(value);
    case Family::kMetainfo:
      return value_line<MetainfoRow>(value);
    case Family::kRef:
      return value_line<RefRow>(value);
    case Family::kTask:
      return value_line<TaskRow>(value);
    case Family::kPeer:
      return value_line<PeerRow>(value);
    case Family::kRaft:
    case Family::kSession:
      break;
  }
  return to_hex(value.substr(0, 64));
}

}  // namespace

Described describe(kv::Family family, std::string_view key, std::string_view value) {
  const std::string front = key.size() < 2
                                ? fmt::format("{}", kv::name(family))
                                : fmt::format("{} shard={}", kv::name(family), kv::shard_of_key(key).value());
  const std::uint8_t kind = key.size() > 2 ? static_cast<std::uint8_t>(key[2]) : 0;
  if (kind == keys::kRows) {
    if (const std::string text = row_key(family, key); !text.empty())
      return {front + " " + text, row_value(family, value)};
  }
  if (kind == keys::kSecond && family == Family::kTag) {
    if (const auto parts = keys::parse_tag_by_manifest(key))
      return {
          fmt::format("{} {}@{} is named {}", front, parts->repository.str(), parts->manifest.str(), parts->tag.str()),
          value.empty() ? "" : to_hex(value.substr(0, 64))};
  }
  if (kind == keys::kSecond && family == Family::kBlob) {
    if (const auto parts = keys::parse_mark(key))
      return {fmt::format("{} {} mark={}", front, parts->digest.str(), parts->push.str()), value_line<MarkRow>(value)};
  }
  if (kind == keys::kSecond && family == Family::kPeer && key.size() == 3)
    return {front + " sweep", "next=" + row_key(family, value)};
  return {fmt::format("{} key={}", front, to_hex(key)), to_hex(value.substr(0, 64))};
}

std::string describe_command(std::string_view bytes) {
  const auto command = decode_command(bytes);
  if (!command) return fmt::format("unreadable ({}): {}", command.error().detail, to_hex(bytes.substr(0, 64)));
  std::string text(name(*command));
  if (const Digest* digest = sharded_by_digest(*command)) text += " " + digest->str();
  if (const Repository* repository = sharded_by_repository(*command)) text += " " + repository->str();
  std::visit(
      [&text](const auto& c) {
        if constexpr (requires { c.manifest.str(); }) text += "@" + c.manifest.str();
        if constexpr (requires { c.tags.front().str(); }) {
          for (const TagName& tag : c.tags) text += " tag=" + tag.str();
        }
        if constexpr (requires { c.tag.str(); }) text += " tag=" + c.tag.str();
        if constexpr (requires { c.ref; })
          text += fmt::format(" for {}@{} push={}", c.ref.repository.str(), c.ref.manifest.str(), c.ref.push.str());
        if constexpr (requires { c.push.str(); }) text += " push=" + c.push.str();
        if constexpr (requires { c.generation; }) text += fmt::format(" generation={}", c.generation);
        if constexpr (requires { c.holder.store; }) text += " store=" + c.holder.store.str();
        if constexpr (requires { c.store.str(); }) text += " store=" + c.store.str();
        if constexpr (requires { c.holders.front().store; }) {
          for (const Holder& holder : c.holders) text += " store=" + holder.store.str();
        }
        if constexpr (requires { c.records; }) text += fmt::format(" records={}", c.records.size());
        if constexpr (requires { c.task.id(); }) text += " task=" + c.task.id();
        if constexpr (requires { c.task.kind; }) text += fmt::format(" kind={}", name(c.task.kind));
      },
      *command);
  return text;
}

}  // namespace kraken::metadata::state
