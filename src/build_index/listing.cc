#include "src/build_index/listing.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "http/url.h"

namespace kraken::build_index {

namespace {

constexpr std::size_t kPage = 1000;
constexpr std::string_view kTagsFolder = "_manifests/tags";

/// As Go's encoding/json writes a string, HTML characters escaped.
void append_json(std::string& out, std::string_view text) {
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20 || c == '<' || c == '>' || c == '&' || byte >= 0x7f) {
      // Names are ASCII; a byte that is none comes from a client's raw target and is shown, not interpreted.
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

bool below(std::string_view repository, std::string_view prefix) {
  if (prefix.empty() || repository == prefix) return true;
  return repository.starts_with(prefix) && repository[prefix.size()] == '/';
}

}  // namespace

Result<ListRequest> parse_list_request(const http::RequestHead& request) {
  ListRequest asked;
  std::set<std::string> seen;
  for (auto& [key, value] : http::parse_query(request.query_string)) {
    if (!seen.insert(key).second) return fail(Code::kInvalidArgument, "query {} is given twice", key);
    asked.paged = true;
    if (key == "offset") {
      asked.offset = std::move(value);
    } else if (key == "limit") {
      const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), asked.limit);
      if (ec != std::errc{} || end != value.data() + value.size() || asked.limit == 0)
        return fail(Code::kInvalidArgument, "limit={}: want a number above 0", value);
      asked.limit = std::min(asked.limit, kPage);
    } else {
      return fail(Code::kInvalidArgument, "query {} is not known: there are limit and offset", key);
    }
  }
  return asked;
}

Result<Prefix> parse_prefix(std::string_view prefix) {
  while (prefix.starts_with('/')) prefix.remove_prefix(1);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  Prefix parsed;
  if (prefix.ends_with(kTagsFolder)) {
    auto name = prefix.substr(0, prefix.size() - kTagsFolder.size());
    if (name.ends_with('/')) name.remove_suffix(1);
    KR_TRY(parsed.repository, Repository::parse(name));
    return parsed;
  }
  if (prefix.empty()) return parsed;
  // A folder above repositories is spelled like a repository.
  KR_TRY(const auto folder, Repository::parse(prefix));
  parsed.below = folder.str();
  return parsed;
}

net::Task<registry::Page> list_tags(TagStore& tags, Prefix prefix, std::string after, std::size_t count) {
  registry::Page page;
  // "repository:tag", of which the repository may be any text that a client sends.
  const auto colon = after.find(':');
  const std::string after_repository = after.substr(0, colon);
  const std::string after_tag = colon == std::string::npos ? "" : after.substr(colon + 1);

  std::string last_repository;
  bool first = true;
  while (page.names.size() < count) {
    registry::Page repositories;
    if (prefix.repository) {
      repositories.names.push_back(prefix.repository->str());
    } else if (first && !after_repository.empty()) {
      // The page before may have ended inside this one.
      repositories.names.push_back(after_repository);
      repositories.more = true;
    } else {
      const auto behind = std::max(last_repository, after_repository);
      KR_CO_TRY(repositories, co_await tags.repositories(behind, kPage));
    }
    first = false;
    for (const auto& name : repositories.names) {
      last_repository = name;
      auto repository = Repository::parse(name);
      if (!repository || (!prefix.repository && !below(name, prefix.below))) continue;
      std::string behind = name == after_repository ? after_tag : "";
      while (true) {
        if (page.names.size() >= count) {
          page.more = true;
          co_return page;
        }
        const std::size_t wanted = std::min(count - page.names.size(), kPage);
        KR_CO_TRY(auto found, co_await tags.tags(*repository, behind, wanted));
        for (const auto& tag : found.names) page.names.push_back(name + ":" + tag);
        if (!found.more || found.names.empty()) break;
        behind = found.names.back();
      }
    }
    if (!repositories.more) co_return page;
  }
  page.more = true;
  co_return page;
}

std::string listing_json(const http::RequestHead& request, const ListRequest& asked,
                         const std::vector<std::string>& names, const std::string& next) {
  std::string out = "{\"Links\":{\"next\":";
  std::string link;
  if (!next.empty())
    link = request.path + "?limit=" + std::to_string(asked.limit) + "&offset=" + http::query_escape(next);
  append_json(out, link);
  out += ",\"self\":";
  append_json(out, request.target);
  out += "},\"size\":" + std::to_string(names.size()) + ",\"result\":";
  if (names.empty()) {
    out += "null";
  } else {
    char separator = '[';
    for (const auto& name : names) {
      out.push_back(separator);
      append_json(out, name);
      separator = ',';
    }
    out.push_back(']');
  }
  out += "}\n";
  return out;
}

}  // namespace kraken::build_index
