#include "src/admin/repair.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "http/client.h"
#include "http/errors.h"
#include "http/router.h"
#include "http/url.h"
#include "src/blobs/scrubber.h"
#include "src/tasks/repair.h"

namespace kraken::admin {
namespace {

using json = nlohmann::ordered_json;
using Shared = std::shared_ptr<const RepairDeps>;

constexpr std::size_t kEventsMax = 1000;   // of one node in one answer
constexpr std::size_t kStepsMax = 10'000;
constexpr std::size_t kAnswerBytesMax = 8 << 20;

/// Where one node stands for a caller: the request's number there, and the last event that was told.
struct Place {
  std::uint64_t request = 0;
  std::uint64_t event = 0;
};
using Cursor = std::map<std::string, Place>;

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string text_of(const Cursor& cursor) {
  std::string out;
  for (const auto& [label, place] : cursor) out += fmt::format("{}{}={}.{}", out.empty() ? "" : ",", label, place.request, place.event);
  return out;
}

Cursor cursor_of(std::string_view text) {
  Cursor cursor;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const std::size_t equals = one.rfind('=');
    const std::size_t dot = one.rfind('.');
    if (equals == std::string_view::npos || dot == std::string_view::npos || dot < equals) continue;
    cursor[std::string(one.substr(0, equals))] = {number(one.substr(equals + 1, dot - equals - 1)), number(one.substr(dot + 1))};
  }
  return cursor;
}

net::Task<json> ask(Shared deps, StatusMember member, http::Method method, std::string target) {
  http::ClientRequest request;
  request.method = method;
  request.host = member.host;
  request.port = deps->admin_port;
  request.target = std::move(target);
  request.dial_timeout = std::chrono::seconds(1);
  request.timeout = std::chrono::seconds(5);
  request.idle_timeout = std::chrono::seconds(5);
  KR_CO_TRY(http::ClientResponse response, co_await deps->client->send(std::move(request)));
  KR_CO_TRY(const std::string body, co_await response.read_all(kAnswerBytesMax));
  if (response.status != 200) co_return std::unexpected(http::error_from(response.status, body, "node " + member.label));
  json answer = json::parse(body, nullptr, false);
  if (!answer.is_object()) co_return fail(Code::kProtocol, "node {} answers what is no JSON", member.label);
  co_return answer;
}

json node_begin(const RepairDeps& deps) {
  deps.scrubber->now();
  const std::uint64_t request = deps.repair->request();
  return {{"label", deps.self}, {"epoch", deps.repair->status().epoch}, {"request", request}};
}

net::Task<json> node_progress(Shared deps, Place from, std::string origin) {
  KR_CO_TRY(const tasks::RepairProgress at, co_await deps->repair->progress(from.request, from.event, std::move(origin), kEventsMax));
  const tasks::RepairStatus& status = at.status;
  json events = json::array();
  for (const tasks::RepairEvent& event : at.events) {
    events.push_back({{"origin", event.origin}, {"content", event.digest.hex()}, {"what", event.deleted ? "deleted" : "repaired"}, {"error", event.error}});
  }
  json led = json::array();
  for (const metadata::ShardId shard : at.led) led.push_back(shard.value());
  json pending = json::array();
  for (const metadata::ShardId shard : at.pending) pending.push_back(shard.value());
  co_return json{{"label", deps->self},
                 {"epoch", status.epoch},
                 {"next", at.next},
                 {"events", std::move(events)},
                 {"led", std::move(led)},
                 {"pending", std::move(pending)},
                 {"copies_left", status.copies_left},
                 {"bytes_left", status.bytes_left},
                 {"let_go_left", status.let_go_left},
                 {"bytes_per_second", status.bytes_per_second},
                 {"without_copy", status.without_copy},
                 {"waits_for", status.waits_for}};
}

net::Task<json> node_plan(Shared deps, std::string origin) {
  KR_CO_TRY(const auto steps, co_await deps->repair->preview(std::move(origin), kStepsMax));
  json out = json::array();
  for (const tasks::RepairStep& step : steps) {
    const char* what = step.kind == tasks::RepairStep::Kind::kCopy ? "copy" : step.kind == tasks::RepairStep::Kind::kLetGo ? "delete" : "forget";
    out.push_back({{"content", step.digest.hex()}, {"origin", step.origin}, {"what", what}, {"bytes", step.bytes}});
  }
  const bool more = steps.size() >= kStepsMax;
  co_return json{{"steps", std::move(out)}, {"more", more}};
}

net::Task<json> cluster_begin(Shared deps) {
  Cursor cursor;
  json unreachable = json::object();
  std::uint64_t epoch = 0;
  const std::vector<StatusMember> members = deps->members();
  for (const StatusMember& member : members) {
    json answer = json::object();
    if (member.label == deps->self) {
      answer = node_begin(*deps);
    } else {
      auto asked = co_await ask(deps, member, http::Method::kPost, "/repair?scope=node");
      if (!asked) {
        unreachable[member.label] = asked.error().detail;
        continue;
      }
      answer = *std::move(asked);
    }
    cursor[member.label] = {answer.value("request", std::uint64_t{0}), 0};
    epoch = std::max(epoch, answer.value("epoch", std::uint64_t{0}));
  }
  co_return json{{"epoch", epoch}, {"cursor", text_of(cursor)}, {"unreachable", std::move(unreachable)}};
}

/// What the nodes said, in one answer.
struct Merged {
  json events = json::array();
  std::set<std::uint64_t> led, pending;
  std::set<std::string> waits_for;
  std::map<std::string, std::uint64_t> epochs;
  std::uint64_t copies = 0, bytes = 0, let_go = 0, without = 0;
  double rate = 0;
  std::string silent;

  void add(const json& node) {
    for (const json& event : node.value("events", json::array())) events.push_back(event);
    for (const json& shard : node.value("led", json::array())) led.insert(shard.get<std::uint64_t>());
    for (const json& shard : node.value("pending", json::array())) pending.insert(shard.get<std::uint64_t>());
    for (const json& label : node.value("waits_for", json::array())) waits_for.insert(label.get<std::string>());
    epochs[node.value("label", "")] = node.value("epoch", std::uint64_t{0});
    copies += node.value("copies_left", std::uint64_t{0});
    bytes += node.value("bytes_left", std::uint64_t{0});
    let_go += node.value("let_go_left", std::uint64_t{0});
    without += node.value("without_copy", std::uint64_t{0});
    rate += node.value("bytes_per_second", 0.0);
  }
  std::uint64_t epoch() const {
    std::uint64_t newest = 0;
    for (const auto& [label, number] : epochs) newest = std::max(newest, number);
    return newest;
  }
  /// Why it is not done; empty: it is.
  std::string why(std::uint32_t shards) const {
    for (const auto& [label, number] : epochs) {
      if (number != epoch()) return fmt::format("{} works with ring {} and not yet with ring {}", label, number, epoch());
    }
    if (led.size() < shards) {
      return fmt::format("{} of {} shards have no leader that answers{}", shards - led.size(), shards, silent.empty() ? "" : "; silent: " + silent);
    }
    if (pending.empty()) return {};
    if (without > 0 && copies == 0) return fmt::format("{} blobs have no good copy anywhere that answers: push them again", without);
    std::string labels;
    for (const std::string& label : waits_for) labels += (labels.empty() ? "" : ", ") + label;
    if (!labels.empty() && copies == 0) return "no answer from " + labels;
    return fmt::format("{} shards are being walked; {} copies to make, {} to delete", pending.size(), copies, let_go);
  }
};

net::Task<json> cluster_progress(Shared deps, Cursor cursor, std::string origin) {
  Merged merged;
  const std::vector<StatusMember> members = deps->members();
  for (const StatusMember& member : members) {
    const Place from = cursor[member.label];
    Result<json> answer = fail(Code::kUnavailable, "");
    if (member.label == deps->self) {
      answer = co_await node_progress(deps, from, origin);
    } else {
      answer = co_await ask(deps, member, http::Method::kGet,
                            fmt::format("/repair?scope=node&request={}&after={}&origin={}", from.request, from.event, http::query_escape(origin)));
    }
    if (!answer) {
      merged.silent += (merged.silent.empty() ? "" : ", ") + member.label;
      continue;
    }
    cursor[member.label].event = answer->value("next", from.event);
    merged.add(*answer);
  }
  const std::string why = merged.why(deps->shards);
  json out{{"epoch", merged.epoch()},
           {"satisfied", why.empty()},
           {"why", why},
           {"cursor", text_of(cursor)},
           {"events", std::move(merged.events)},
           {"shards", {{"total", deps->shards}, {"satisfied", merged.led.size() - std::min(merged.led.size(), merged.pending.size())}}},
           {"copies_left", merged.copies},
           {"bytes_left", merged.bytes},
           {"let_go_left", merged.let_go},
           {"bytes_per_second", merged.rate},
           {"without_copy", merged.without},
           {"waits_for", merged.waits_for}};
  if (merged.rate > 0 && merged.bytes > 0) out["eta_s"] = static_cast<double>(merged.bytes) / merged.rate;
  co_return out;
}

net::Task<json> cluster_plan(Shared deps, std::string origin) {
  json steps = json::array();
  bool more = false;
  const std::vector<StatusMember> members = deps->members();
  for (const StatusMember& member : members) {
    Result<json> answer = fail(Code::kUnavailable, "");
    if (member.label == deps->self) {
      answer = co_await node_plan(deps, origin);
    } else {
      answer = co_await ask(deps, member, http::Method::kGet, "/repair?scope=node&plan=1&origin=" + http::query_escape(origin));
    }
    if (!answer) {
      more = true;
      continue;
    }
    for (const json& step : answer->value("steps", json::array())) steps.push_back(step);
    more = more || answer->value("more", false);
  }
  co_return json{{"steps", std::move(steps)}, {"more", more}};
}

net::Task<void> reply_json(http::Exchange& exchange, json answer) {
  http::Headers headers{{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}};
  std::string body = answer.dump() + "\n";
  auto replied = co_await exchange.reply(200, std::move(headers), std::move(body));
  co_return replied;
}

net::Task<void> begin(http::Exchange& exchange, Shared deps) {
  json answer = json::object();
  if (exchange.request().query("scope").value_or("") == "node") {
    answer = node_begin(*deps);
  } else {
    KR_CO_TRY(answer, co_await cluster_begin(deps));
  }
  auto replied = co_await reply_json(exchange, std::move(answer));
  co_return replied;
}

net::Task<void> show(http::Exchange& exchange, Shared deps) {
  const http::RequestHead& head = exchange.request();
  const bool one = head.query("scope").value_or("") == "node";
  const std::string origin = head.query("origin").value_or("");
  const bool plan = head.query("plan").has_value();
  const Place from{number(head.query("request").value_or("")), number(head.query("after").value_or(""))};
  Cursor cursor = cursor_of(head.query("cursor").value_or(""));
  json answer = json::object();
  if (plan && one) {
    KR_CO_TRY(answer, co_await node_plan(deps, origin));
  } else if (plan) {
    KR_CO_TRY(answer, co_await cluster_plan(deps, origin));
  } else if (one) {
    KR_CO_TRY(answer, co_await node_progress(deps, from, origin));
  } else {
    KR_CO_TRY(answer, co_await cluster_progress(deps, std::move(cursor), origin));
  }
  auto replied = co_await reply_json(exchange, std::move(answer));
  co_return replied;
}

}  // namespace

void add_repair_routes(http::Router& router, RepairDeps deps) {
  auto shared = std::make_shared<const RepairDeps>(std::move(deps));
  router.add(http::Method::kPost, "/repair", [shared](http::Exchange& exchange) { return begin(exchange, shared); });
  router.add(http::Method::kGet, "/repair", [shared](http::Exchange& exchange) { return show(exchange, shared); });
}

std::string repair_json(const tasks::Repair& repair, const blobs::Scrubber& scrubber) {
  const tasks::RepairStatus status = repair.status();
  const blobs::ScrubberStatus scrub = scrubber.status();
  return json{{"epoch", status.epoch},
              {"shards_led", status.shards_led},
              {"shards_satisfied", status.shards_satisfied},
              {"copies_left", status.copies_left},
              {"bytes_left", status.bytes_left},
              {"let_go_left", status.let_go_left},
              {"copies_done", status.copies_done},
              {"bytes_done", status.bytes_done},
              {"let_go_done", status.let_go_done},
              {"bytes_per_second", status.bytes_per_second},
              {"without_copy", status.without_copy},
              {"waits_for", status.waits_for},
              {"scrub", {{"running", scrub.running}, {"rounds", scrub.rounds}, {"files", scrub.files}, {"orphans", scrub.orphans},
                         {"left", scrub.left}, {"entered", scrub.entered}, {"missing", scrub.missing}, {"waits", scrub.waits}}}}
      .dump();
}

}  // namespace kraken::admin
