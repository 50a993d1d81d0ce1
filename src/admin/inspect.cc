#include "src/admin/inspect.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/admin/inspect_raft.h"
#include "src/base/hex.h"
#include "storage/kv/keys.h"

namespace kraken::admin {
namespace {

using json = nlohmann::ordered_json;

/// Behind "<family> shard=<n> ".
std::string_view name_in(std::string_view key) {
  const std::size_t shard = key.find(" shard=");
  if (shard == std::string_view::npos) return key;
  const std::size_t space = key.find(' ', shard + 1);
  return space == std::string_view::npos ? std::string_view{} : key.substr(space + 1);
}

Described describe_row(kv::Family family, std::string_view key, std::string_view value) {
  std::optional<Described> own;
  if (family == kv::Family::kRaft) own = describe_raft(key, value);
  if (family == kv::Family::kSession) own = describe_session(key, value);
  return own ? *std::move(own) : metadata::state::describe(family, key, value);
}

}  // namespace

Result<kv::Family> parse_family(std::string_view name) {
  const auto at = std::find(kv::kFamilyNames.begin(), kv::kFamilyNames.end(), name);
  if (at != kv::kFamilyNames.end()) return kv::family_at(static_cast<std::size_t>(at - kv::kFamilyNames.begin()));
  return fail(Code::kInvalidArgument, "there is no family {}; they are {}", name, fmt::join(kv::kFamilyNames, ", "));
}

Result<std::vector<FamilyCount>> count_families(const kv::View& view) {
  std::vector<FamilyCount> out;
  for (std::size_t i = 0; i < kv::kFamilies; ++i) {
    FamilyCount count{.family = std::string(kv::kFamilyNames[i])};
    KR_CHECK(view.scan(kv::family_at(i), "", "", false, [&](std::string_view key, std::string_view value) {
      ++count.rows;
      count.bytes += key.size() + value.size();
      return true;
    }));
    out.push_back(std::move(count));
  }
  return out;
}

Result<InspectPage> inspect(const kv::View& view, const InspectQuery& query) {
  std::string from = query.shard ? kv::shard_prefix(*query.shard) : std::string{};
  const std::string to = query.shard ? kv::after_prefix(from) : std::string{};
  if (!query.after_hex.empty()) {
    const auto after = from_hex(query.after_hex);
    if (!after) return fail(Code::kInvalidArgument, "`after` is not hexadecimal: {}", query.after_hex);
    from = *after + '\0';
  }
  const std::uint32_t limit = std::min(query.limit, kInspectRowsMax);
  InspectPage page;
  KR_CHECK(view.scan(query.family, from, to, false, [&](std::string_view key, std::string_view value) {
    Described described = describe_row(query.family, key, value);
    if (!query.prefix.empty() && !name_in(described.key).starts_with(query.prefix)) return true;
    if (page.rows.size() == limit) {
      page.more = true;
      return false;
    }
    page.rows.push_back({std::move(described.key), std::move(described.value), to_hex(key), value.size()});
    return true;
  }));
  return page;
}

std::string families_json(const std::vector<FamilyCount>& families) {
  json rows = json::array();
  for (const FamilyCount& count : families) rows.push_back({{"family", count.family}, {"rows", count.rows}, {"bytes", count.bytes}});
  return json{{"families", std::move(rows)}}.dump(2) + "\n";
}

std::string page_json(const InspectPage& page) {
  json rows = json::array();
  for (const InspectRow& row : page.rows) {
    rows.push_back({{"key", row.key}, {"value", row.value}, {"key_hex", row.key_hex}, {"value_bytes", row.value_bytes}});
  }
  return json{{"rows", std::move(rows)}, {"more", page.more}}.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string log_json(const std::vector<LogEntry>& entries) {
  json rows = json::array();
  for (const LogEntry& entry : entries) {
    rows.push_back({{"index", entry.index}, {"term", entry.term}, {"kind", entry.kind}, {"bytes", entry.bytes}, {"text", entry.text}});
  }
  return json{{"entries", std::move(rows)}}.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string vote_json(const Vote& vote) {
  return json{{"term", vote.term},   {"voted_for", vote.voted_for}, {"applied", vote.applied},
              {"first", vote.first}, {"last", vote.last},           {"snapshot", vote.snapshot}}
             .dump(2) +
         "\n";
}

}  // namespace kraken::admin
