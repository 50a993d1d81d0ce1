#include <charconv>

#include "http/router.h"
#include "src/admin/inspect.h"
#include "src/net/file_pool.h"

namespace kraken::admin {
namespace {

template <class T>
Result<std::optional<T>> number(const http::RequestHead& head, std::string_view key) {
  const auto text = head.query(key);
  if (!text || text->empty()) return std::optional<T>{};
  T value{};
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (ec != std::errc{} || end != text->data() + text->size()) return fail(Code::kInvalidArgument, "{} is not a number: {}\n", key, *text);
  return std::optional<T>{value};
}

struct Asked {
  std::optional<kv::Family> family;
  InspectQuery query;
  kv::ShardId shard;
  std::uint64_t from = 0;
};

Result<Asked> parse(const http::RequestHead& head, bool shard_required) {
  Asked asked;
  if (const auto name = head.query("family"); name && !name->empty()) {
    KR_TRY(asked.family, parse_family(*name));
    asked.query.family = *asked.family;
  }
  KR_TRY(const auto shard, number<std::uint16_t>(head, "shard"));
  if (shard) asked.query.shard = kv::ShardId(*shard);
  if (shard_required && !shard) return fail(Code::kInvalidArgument, "say which shard: ?shard=0 is the system group\n");
  asked.shard = asked.query.shard.value_or(kv::ShardId{});
  KR_TRY(const auto limit, number<std::uint32_t>(head, "limit"));
  asked.query.limit = limit.value_or(100);
  KR_TRY(const auto from, number<std::uint64_t>(head, "from"));
  asked.from = from.value_or(0);
  asked.query.prefix = head.query("prefix").value_or("");
  asked.query.after_hex = head.query("after").value_or("");
  return asked;
}

Result<std::string> rows(const kv::View& store, const Asked& asked) {
  if (!asked.family) {
    KR_TRY(const auto families, count_families(store));
    return families_json(families);
  }
  KR_TRY(const auto page, inspect(store, asked.query));
  return page_json(page);
}

Result<std::string> log(const kv::View& store, const Asked& asked) {
  KR_TRY(const auto entries, inspect_log(store, asked.shard, asked.from, asked.query.limit));
  return log_json(entries);
}

Result<std::string> vote(const kv::View& store, const Asked& asked) {
  KR_TRY(const auto found, inspect_vote(store, asked.shard));
  return vote_json(found);
}

using Look = Result<std::string> (*)(const kv::View&, const Asked&);

net::Task<void> answer(http::Exchange& exchange, const kv::View& store, net::FilePool& pool, bool shard_required, Look look) {
  KR_CO_TRY(Asked asked, parse(exchange.request(), shard_required));
  KR_CO_TRY(std::string body, co_await pool.run([&store, &asked, look] { return look(store, asked); }));
  http::Headers headers{{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}};
  co_return co_await exchange.reply(200, std::move(headers), std::move(body));
}

}  // namespace

void add_inspect_routes(http::Router& router, const kv::View& store, net::FilePool& pool) {
  const auto add = [&](const char* path, bool shard_required, Look look) {
    router.add(http::Method::kGet, path, [&store, &pool, shard_required, look](http::Exchange& exchange) {
      return answer(exchange, store, pool, shard_required, look);
    });
  };
  add("/inspect", false, rows);
  add("/inspect/log", true, log);
  add("/inspect/vote", true, vote);
}

}  // namespace kraken::admin
