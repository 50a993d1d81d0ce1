// `kraken repair` and, as the operational guide writes it, `kraken -origin origin0 -repair`: blobs to where the ring wants them.
// Against running nodes it starts the walk that they make anyway, follows it and prints each copy; offline it reads folders.

#include <unistd.h>

#include <cstdio>
#include <map>
#include <thread>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "http/url.h"
#include "src/node/placement.h"
#include "tools/blob_repair.h"
#include "tools/caller.h"
#include "tools/offline_repair.h"

namespace kraken::tools {
namespace {

using json = nlohmann::json;

constexpr std::uint16_t kAdminPort = 14002;
constexpr Duration kPoll = std::chrono::milliseconds(300);
constexpr Duration kReplaceAgain = std::chrono::seconds(3);
constexpr std::size_t kErrorsMax = 20;

using Words = BlobRepairWords;

/// Any node answers for the whole ring. kNotFound: no node of the ring has that label, or is that host.
Result<> check_origin(Caller& caller, const Target& any, const Words& words) {
  if (words.origin.empty()) return {};
  auto text = caller.get(any.host, any.port, "/status", std::chrono::seconds(15));
  if (!text) return std::unexpected(std::move(text).error().within(fmt::format("no node answers at {}:{} (--host)", any.host, any.port)));
  const json status = json::parse(*text, nullptr, false);
  if (!status.is_object() || !status.contains("nodes")) return fail(Code::kProtocol, "what answers there is not a kraken node");
  std::string labels;
  for (const json& node : status["nodes"]) {
    const std::string label = node.value("label", "");
    if (label == words.origin) return {};
    labels += (labels.empty() ? "" : ", ") + label;
  }
  return fail(Code::kNotFound, "no origin {} in the ring; there are {}", words.origin, labels);
}

void print_event(const json& event) {
  const std::string error = event.value("error", "");
  fmt::print("origin: {}, content: {}, {}: {}\n", event.value("origin", ""), event.value("content", ""), event.value("what", ""),
             error.empty() ? "OK" : error);
}

std::string progress_text(const json& at) {
  std::string text = fmt::format("{} of {} shards satisfied; {} copies ({}) to make, {} to delete", at["shards"].value("satisfied", 0),
                                 at["shards"].value("total", 0), at.value("copies_left", 0), human_bytes(at.value("bytes_left", 0.0)),
                                 at.value("let_go_left", 0));
  if (at.value("bytes_per_second", 0.0) > 0) text += fmt::format(", {}/s", human_bytes(at["bytes_per_second"].get<double>()));
  if (at.contains("eta_s")) text += fmt::format(", about {} left", human_duration(at["eta_s"].get<double>()));
  return text;
}

/// The guide replaces a failed node by repairing its label: a new, empty folder that waits under it is taken in. Where nobody waits,
/// or the old one is heard, there is nothing to replace.
void replace_if_waiting(Caller& caller, const Target& node, const Words& words) {
  http::ClientRequest request;
  request.method = http::Method::kPost;
  request.host = node.host;
  request.port = node.port;
  request.target = "/ring/replace?label=" + http::query_escape(words.origin);
  request.timeout = std::chrono::seconds(30);
  const auto reply = caller.call(std::move(request));
  if (reply && reply->status == 200) fmt::print(stderr, "kraken: {}", reply->body);
}

/// Until it is done, or nothing has moved for as long as the words allow.
int follow(Caller& caller, const Target& node, const Words& words, std::string cursor) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  std::size_t made = 0, deleted = 0, failed = 0;
  std::string last;
  MonotonicTime moved = system_clock().monotonic();
  MonotonicTime told = moved;
  MonotonicTime replaced = moved;
  for (;;) {
    const auto text = caller.get(node.host, node.port,
                                 fmt::format("/repair?origin={}&cursor={}", http::query_escape(words.origin), http::query_escape(cursor)),
                                 std::chrono::seconds(30));
    const MonotonicTime now = system_clock().monotonic();
    if (text) {
      const json at = json::parse(*text, nullptr, false);
      if (!at.is_object() || !at.contains("shards")) return report(Error{Code::kProtocol, "what answers there is not a kraken node"});
      cursor = at.value("cursor", cursor);
      const std::size_t good_before = made + deleted;
      for (const json& event : at["events"]) {
        const bool bad = !event.value("error", "").empty();
        if (bad && ++failed > kErrorsMax) continue;
        if (terminal) fmt::print(stderr, "\r\033[K");
        print_event(event);
        if (!bad) ++(event.value("what", "") == "deleted" ? deleted : made);
      }
      std::fflush(stdout);
      if (!words.origin.empty() && !at.value("satisfied", false) && now - replaced > kReplaceAgain) {
        replaced = now;
        replace_if_waiting(caller, node, words);  // the new node may have begun to wait only now
      }
      const std::string progress = progress_text(at);
      if (made + deleted > good_before || progress != last) moved = now;  // what fails again and again is no progress
      last = progress;
      if (at.value("satisfied", false) && at["events"].empty()) {
        if (terminal) fmt::print(stderr, "\r\033[K");
        fmt::print(stderr, "kraken: {} is where ring {} wants it: {} copies made, {} deleted\n",
                   words.origin.empty() ? "every blob" : "every blob of " + words.origin, at.value("epoch", 0), made, deleted);
        return kExitOk;
      }
      if (terminal) {
        fmt::print(stderr, "\r\033[K{}", progress);
      } else if (now - told > std::chrono::seconds(10)) {
        told = now;
        fmt::print(stderr, "kraken: {}; {}\n", progress, at.value("why", ""));
      }
      if (now - moved > std::chrono::seconds(words.patience_s)) {
        if (terminal) fmt::print(stderr, "\r\033[K");
        return report(Error{Code::kUnavailable, fmt::format("nothing moved for {} s: {}. The nodes go on by themselves; run it again to follow them",
                                                            words.patience_s, at.value("why", ""))});
      }
    } else if (now - moved > std::chrono::seconds(words.patience_s)) {
      return report(text.error(), fmt::format("{}:{} does not answer any more", node.host, node.port));
    }
    std::this_thread::sleep_for(kPoll);
  }
}

int dry_run(Caller& caller, const Target& node, const Words& words) {
  const auto text = caller.get(node.host, node.port, "/repair?plan=1&origin=" + http::query_escape(words.origin), std::chrono::minutes(2));
  if (!text) return report(text.error());
  const json plan = json::parse(*text, nullptr, false);
  if (!plan.is_object() || !plan.contains("steps")) return report(Error{Code::kProtocol, "what answers there is not a kraken node"});
  double bytes = 0;
  std::size_t copies = 0;
  for (const json& step : plan["steps"]) {
    const bool copy = step.value("what", "") == "copy";
    copies += copy ? 1 : 0;
    bytes += copy ? step.value("bytes", 0.0) : 0;
    fmt::print("origin: {}, content: {}, would {}\n", step.value("origin", ""), step.value("content", ""), step.value("what", ""));
  }
  fmt::print(stderr, "kraken: {}{} steps, {} of them copies of {}; nothing was changed\n", plan.value("more", false) ? "more than " : "",
             plan["steps"].size(), copies, human_bytes(bytes));
  return kExitOk;
}

int online(const Words& words) {
  Caller caller;
  const auto node = parse_target(words.host, kAdminPort);
  if (!node) return report(node.error());
  if (const auto known = check_origin(caller, *node, words); !known) return report(known.error());
  if (words.dry_run) return dry_run(caller, *node, words);
  if (!words.origin.empty()) replace_if_waiting(caller, *node, words);
  http::ClientRequest request;
  request.method = http::Method::kPost;
  request.host = node->host;
  request.port = node->port;
  request.target = "/repair";
  request.timeout = std::chrono::seconds(30);
  const auto reply = caller.call(std::move(request));
  if (!reply) return report(reply.error(), fmt::format("no node answers at {}:{}", node->host, node->port));
  const json begun = json::parse(reply->body, nullptr, false);
  if (reply->status != 200 || !begun.is_object()) return report(error_of(*reply, "repair"));
  for (const auto& silent : begun.value("unreachable", json::object()).items()) {
    fmt::print(stderr, "kraken: {} does not answer: {}\n", silent.key(), silent.value().get<std::string>());
  }
  return follow(caller, *node, words, begun.value("cursor", ""));
}

void print_findings(const OfflineReport& found, Output output) {
  if (output == Output::kJson) {
    nlohmann::ordered_json findings = nlohmann::ordered_json::array();
    for (const OfflineFinding& one : found.findings) {
      findings.push_back({{"content", one.digest.hex()}, {"origin", one.label}, {"what", name(one.kind)}, {"bytes", one.bytes}, {"from", one.from}});
    }
    nlohmann::ordered_json out{{"records", found.records}, {"files", found.files}, {"shards", found.shards},
                               {"shards_read", found.shards_read}, {"without_copy", found.without_copy}, {"findings", findings}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
  for (const OfflineFinding& one : found.findings) {
    fmt::print("origin: {}, content: {}, {}{}\n", one.label, one.digest.hex(), name(one.kind), one.from.empty() ? "" : ", from " + one.from);
  }
}

int offline(const Words& words, Output output) {
  config::LoadOptions options;
  options.file = words.config;
  auto loaded = config::load_node(options);
  if (!loaded) return report(loaded.error()), kExitConfig;
  const auto ring = node::ring_of(loaded->config);
  if (!ring) return report(ring.error()), kExitConfig;
  std::vector<StoppedNode> nodes;
  for (const std::string& text : words.data) {
    auto node = parse_stopped_node(text);
    if (!node) return report(node.error()), kExitUsage;
    nodes.push_back(*std::move(node));
  }
  if (nodes.empty()) {
    auto label = config::own_label(loaded->config, config::host_identity());
    if (!label) return report(label.error(), "say which folders: --data LABEL=METADATA,BLOBS"), kExitUsage;
    nodes.push_back({.label = *label, .metadata = loaded->config.metadata.path, .blobs = loaded->config.blobs.path});
  }
  auto found = look_offline(nodes, *ring, loaded->config.hashring.max_replica);
  if (!found) return report(found.error());
  print_findings(*found, output);
  std::map<OfflineFinding::Kind, std::size_t> counts;
  for (const OfflineFinding& one : found->findings) ++counts[one.kind];
  std::string text;
  for (const auto& [kind, count] : counts) text += fmt::format(", {} {}", count, name(kind));
  fmt::print(stderr, "kraken: {} records of {} of {} shards, {} files{}{}\n", found->records, found->shards_read, found->shards, found->files,
             text, found->without_copy == 0 ? "" : fmt::format("; {} blobs have no copy in these folders", found->without_copy));
  const std::size_t lacking = counts[OfflineFinding::Kind::kMissing] + counts[OfflineFinding::Kind::kWrongSize];
  if (!words.apply || words.dry_run) return lacking == 0 ? kExitOk : kExitDamaged;
  std::size_t failed = 0;
  const auto copied = copy_offline(nodes, *found, [&](const OfflineFinding& one, const Result<>& done) {
    failed += done ? 0 : 1;
    fmt::print("origin: {}, content: {}, repaired: {}\n", one.label, one.digest.hex(), done ? "OK" : done.error().detail);
  });
  if (!copied) return report(copied.error());
  fmt::print(stderr, "kraken: {} of {} copied; the nodes enter them in the records when they start\n", lacking - failed, lacking);
  return failed == 0 ? kExitOk : kExitDamaged;
}

}  // namespace

void add_blob_repair_options(CLI::App& repair, BlobRepairWords& words) {
  repair.add_option("--origin", words.origin, "Blobs: only those that this label owns or holds; its node is asked");
  repair.add_option("--host", words.host, "Blobs: any node; host or host:port of its admin port")->envname("KRAKEN_HOST")->capture_default_str();
  repair.add_option("--patience", words.patience_s, "Blobs: seconds without progress after which it gives up")->capture_default_str();
  repair.add_flag("--apply", words.apply, "With --offline: copy between the given folders the blobs that an owner lacks");
}

int repair_blobs(const BlobRepairWords& words, Output output) {
  if (!words.offline) return online(words);
  if (words.config.empty()) return report(Error{Code::kInvalidArgument, "--offline needs --config, for the hashstate"}, "repair"), kExitUsage;
  return offline(words, output);
}

}  // namespace kraken::tools
