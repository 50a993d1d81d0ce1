#include "src/agent/cluster.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "http/errors.h"
#include "http/url.h"
#include "src/base/log.h"
#include "src/base/rng.h"
#include "src/net/deadline.h"
#include "src/registry/answers.h"

namespace kraken::agent {

using namespace std::chrono_literals;

namespace {

constexpr Duration kFailedFor = 5s;
constexpr Duration kLookUpEvery = 30s;
constexpr std::size_t kMetaBytesMax = 4u << 20;
constexpr std::size_t kAnnounceBytesMax = 1u << 20;
constexpr Duration kPendingMax = 15min;  // stock's agents poll so long (facts §1.5)

std::string text_of(const net::HostPort& host) { return fmt::format("{}:{}", host.host, host.port); }
MonotonicTime now() { return system_clock().monotonic(); }

}  // namespace

net::Task<std::vector<net::HostPort>> Hosts::in_order(std::size_t key) {
  bool look_up = false;
  {
    std::scoped_lock lock(mutex_);
    look_up = !name_.empty() && (hosts_.empty() || now() - looked_up_ > kLookUpEvery);
  }
  if (look_up) {
    auto addresses = co_await net::resolve(name_, 2s);
    std::scoped_lock lock(mutex_);
    if (addresses) {
      hosts_.clear();
      for (auto& address : *addresses) hosts_.push_back({std::move(address), port_});
      std::ranges::sort(hosts_, {}, text_of);
      looked_up_ = now();
    } else if (hosts_.empty()) {
      co_return std::unexpected(std::move(addresses).error().within(fmt::format("cluster.dns {}", name_)));
    }
  }
  std::scoped_lock lock(mutex_);
  if (hosts_.empty()) co_return fail(Code::kUnavailable, "no host of the cluster is configured");
  std::vector<net::HostPort> order = hosts_;
  std::ranges::rotate(order, order.begin() + static_cast<std::ptrdiff_t>(key % order.size()));
  std::erase_if(failed_, [](const auto& entry) { return entry.second <= now(); });
  const auto works = [&](const net::HostPort& host) {
    return std::ranges::none_of(failed_, [&](const auto& entry) { return entry.first == text_of(host); });
  };
  std::vector<net::HostPort> working;
  std::ranges::copy_if(order, std::back_inserter(working), works);
  std::ranges::copy_if(order, std::back_inserter(working), [&](const net::HostPort& host) { return !works(host); });
  co_return working;
}

void Hosts::worked(const net::HostPort& host) {
  std::scoped_lock lock(mutex_);
  std::erase_if(failed_, [&](const auto& entry) { return entry.first == text_of(host); });
}

void Hosts::failed(const net::HostPort& host) {
  std::scoped_lock lock(mutex_);
  std::erase_if(failed_, [&](const auto& entry) { return entry.first == text_of(host); });
  failed_.emplace_back(text_of(host), now() + kFailedFor);
}

net::Task<Cluster::Answer> Cluster::ask_one(net::HostPort host, Ask ask, Duration limit) {
  http::ClientRequest request;
  request.method = ask.method;
  request.host = host.host;
  request.port = host.port;
  request.target = ask.target;
  request.headers = ask.headers;
  request.body = ask.body;
  request.dial_timeout = std::min<Duration>(limit, 1s);
  request.timeout = limit;
  request.idle_timeout = limit;
  KR_CO_TRY(auto response, co_await client_.send(std::move(request)));
  Answer answer{response.status, response.headers, {}};
  KR_CO_TRY(answer.body, co_await response.read_all(ask.bytes_max));
  co_return answer;
}

net::Task<Cluster::Answer> Cluster::ask(Hosts& hosts, Ask ask) {
  const MonotonicTime end = now() + ask.all;
  Error last{Code::kUnavailable, "no host answered"};
  for (int round = 0; round < ask.rounds; ++round) {
    KR_CO_TRY(const auto order, co_await hosts.in_order(ask.key));
    for (const net::HostPort& host : order) {
      const Duration limit = std::min(ask.each * (round + 1), end - now());
      if (limit <= Duration::zero()) break;
      auto answer = co_await net::with_deadline(limit, ask_one(host, ask, limit), text_of(host));
      if (!answer && answer.error().code == Code::kCancelled) co_return std::unexpected(answer.error());
      if (!answer && answer.error().code == Code::kTooLarge) co_return std::unexpected(answer.error());
      if (!answer) {
        hosts.failed(host);
        last = answer.error().within(text_of(host));
        log::debug("agent.host_failed", "host={} target={} error={}", text_of(host), ask.target, answer.error().to_string());
        continue;
      }
      hosts.worked(host);
      const bool doubtful = answer->status == 404 && answer->headers.has("Warning");
      if (answer->status < 500 && answer->status != 429 && !doubtful) co_return answer;
      last = http::error_from(answer->status, answer->body, text_of(host));
    }
  }
  co_return fail(Code::kUnavailable, "{}", last.detail);
}

// --- the tracker

net::Task<p2p::AnnounceReply> Cluster::announce(InfoHash infohash, Digest digest, PeerInfo self) {
  nlohmann::ordered_json body;
  body["name"] = digest.hex();
  body["digest"] = digest.str();
  body["info_hash"] = infohash.json();
  nlohmann::ordered_json peer;
  peer["peer_id"] = self.peer_id.json();
  peer["ip"] = self.ip;
  peer["port"] = self.port;
  peer["origin"] = self.origin;
  peer["complete"] = self.complete;
  body["peer"] = peer;
  Ask question{.method = http::Method::kPost,
               .target = "/announce/" + infohash.hex(),
               // Ours: a node then hands out one holder first and leaves the rest to the swarm (src/tracker/routes.h).
               .headers = {{"Content-Type", "application/json"}, {"Kraken-Swarm", "1"}},
               .body = body.dump(),
               .key = digest.prefix(),
               .bytes_max = kAnnounceBytesMax,
               .each = 1s,
               .all = 10s};
  auto answer = co_await ask(*hosts_.trackers, std::move(question));
  if (!answer) {
    if (answer.error().code == Code::kUnavailable) ++announces_lost_;
    co_return std::unexpected(answer.error());
  }
  if (answer->status != 200) co_return std::unexpected(http::error_from(answer->status, answer->body, "announce"));
  const nlohmann::json reply = nlohmann::json::parse(answer->body, nullptr, false);
  if (!reply.is_object()) co_return fail(Code::kProtocol, "announce: the answer is no JSON object");
  p2p::AnnounceReply out;
  if (const auto interval = reply.find("interval"); interval != reply.end() && interval->is_number_integer())
    out.interval = Duration(interval->get<std::int64_t>());
  if (const auto peers = reply.find("peers"); peers != reply.end() && peers->is_array()) {
    for (const nlohmann::json& entry : *peers)
      if (auto parsed = PeerInfo::from_json(entry)) out.peers.push_back(*std::move(parsed));
  }
  co_return out;
}

net::Task<MetaInfo> Cluster::metainfo(std::string ns, Digest digest) {
  const MonotonicTime end = now() + kPendingMax;
  Duration pause = 100ms;
  for (;;) {
    Ask question{.target = fmt::format("/namespace/{}/blobs/{}/metainfo", http::path_escape(ns), digest.str()),
                 .key = digest.prefix(),
                 .bytes_max = kMetaBytesMax,
                 .each = 2s,
                 .all = 30s,
                 .rounds = 2};
    KR_CO_TRY(const auto answer, co_await ask(*hosts_.trackers, std::move(question)));
    if (answer.status == 200) co_return MetaInfo::parse(answer.body);
    if (answer.status != 202) co_return std::unexpected(http::error_from(answer.status, answer.body, fmt::format("metainfo of {}", digest.str())));
    if (now() + pause > end) co_return fail(Code::kUnavailable, "{} is still being fetched by the cluster after 15 minutes", digest.str());
    KR_CO_CHECK(co_await net::sleep_for(pause));
    pause = std::min<Duration>(pause * 13 / 10, 5s);
  }
}

net::Task<void> Cluster::tracker_ready() {
  Ask question{.target = "/readiness", .each = 2s, .all = 5s};
  KR_CO_TRY(const auto answer, co_await ask(*hosts_.trackers, std::move(question)));
  if (answer.status != 200) co_return std::unexpected(http::error_from(answer.status, answer.body, "tracker"));
  co_return Result<>{};
}

// --- the build-index

namespace {

Result<Digest> digest_in(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return Digest::parse(text);
}

}  // namespace

net::Task<Cluster::Tag> Cluster::stale_tag(QualifiedTag tag) {
  Ask question{.target = "/tags/" + http::path_escape(tag.str()) + "?stale=true",
               .key = std::hash<std::string>{}(tag.str()),
               .bytes_max = 4096,
               .each = 2s,
               .all = 6s};
  KR_CO_TRY(const auto answer, co_await ask(*hosts_.build_indexes, std::move(question)));
  if (answer.status != 200) co_return std::unexpected(http::error_from(answer.status, answer.body, fmt::format("tag {}", tag.str())));
  auto stale = registry::stale_headers(answer.headers);
  if (!stale) co_return fail(Code::kProtocol, "tag {}: a node that does not say how stale its answer is", tag.str());
  KR_CO_TRY(auto digest, digest_in(answer.body));
  co_return Tag{digest, stale};
}

net::Task<Cluster::Tag> Cluster::tag(QualifiedTag tag) {
  Ask question{.target = "/tags/" + http::path_escape(tag.str()),
               .key = std::hash<std::string>{}(tag.str()),
               .bytes_max = 4096,
               .each = 2s,
               .all = 6s,
               .rounds = 2};
  auto answer = co_await ask(*hosts_.build_indexes, std::move(question));
  if (!answer && answer.error().code == Code::kUnavailable && stale_without_quorum_) {
    auto seen = co_await stale_tag(tag);
    if (seen) {
      log::warn("agent.stale_tag", "tag={} digest={} age_s={}", tag.str(), seen->digest.str(),
                seen->stale->age ? fmt::format("{:.1f}", std::chrono::duration<double>(*seen->stale->age).count()) : "unknown");
      co_return seen;
    }
  }
  if (!answer) co_return std::unexpected(std::move(answer).error());
  if (answer->status == 404) co_return fail(Code::kNotFound, "no tag {}", tag.str());
  if (answer->status != 200) co_return std::unexpected(http::error_from(answer->status, answer->body, fmt::format("tag {}", tag.str())));
  KR_CO_TRY(auto digest, digest_in(answer->body));
  co_return Tag{digest, std::nullopt};
}

net::Task<std::vector<std::string>> Cluster::tags(Repository repository) {
  Ask question{.target = fmt::format("/repositories/{}/tags", http::path_escape(repository.str())), .bytes_max = 8u << 20, .each = 5s, .all = 15s};
  KR_CO_TRY(const auto answer, co_await ask(*hosts_.build_indexes, std::move(question)));
  if (answer.status != 200) co_return std::unexpected(http::error_from(answer.status, answer.body, "tags"));
  const nlohmann::json reply = nlohmann::json::parse(answer.body, nullptr, false);
  std::vector<std::string> names;
  if (!reply.is_object()) co_return fail(Code::kProtocol, "tags: the answer is no JSON object");
  if (const auto result = reply.find("result"); result != reply.end() && result->is_array())
    for (const nlohmann::json& name : *result)
      if (name.is_string()) names.push_back(name.get<std::string>());
  std::ranges::sort(names);
  co_return names;
}

net::Task<void> Cluster::build_index_ready() {
  Ask question{.target = "/readiness", .each = 2s, .all = 5s};
  KR_CO_TRY(const auto answer, co_await ask(*hosts_.build_indexes, std::move(question)));
  if (answer.status != 200) co_return std::unexpected(http::error_from(answer.status, answer.body, "build index"));
  co_return Result<>{};
}

// --- holders

net::Task<std::string> Cluster::blob(std::string ns, Digest digest, std::uint64_t bytes_max) {
  if (hosts_.origins->empty()) co_return fail(Code::kUnavailable, "no origin is known");
  Ask question{.target = fmt::format("/namespace/{}/blobs/{}", http::path_escape(ns), digest.str()),
               .key = digest.prefix(),
               .bytes_max = static_cast<std::size_t>(bytes_max),
               .each = 2s,
               .all = 10s,
               .rounds = 2};
  KR_CO_TRY(auto answer, co_await ask(*hosts_.origins, std::move(question)));
  if (answer.status != 200) co_return std::unexpected(http::error_from(answer.status, answer.body, digest.str()));
  if (Digest::of(answer.body) != digest)
    co_return fail(Code::kDigestMismatch, "what a node gave as {} has another SHA-256", digest.str());
  co_return std::move(answer.body);
}

}  // namespace kraken::agent
