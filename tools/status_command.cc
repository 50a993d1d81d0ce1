#include <cstdio>

#include <CLI/CLI.hpp>
#include <algorithm>

#include <nlohmann/json.hpp>

#include "tools/caller.h"
#include "tools/command.h"

namespace kraken::tools {
namespace {

using json = nlohmann::json;

constexpr std::uint16_t kAdminPort = 14002;
constexpr std::size_t kShardsShown = 10;

struct Words {
  std::string host = "127.0.0.1";
};

std::string disk_text(const json& node, const char* which) {
  const json disk = node.value("disk", json::object()).value(which, json::object());
  if (!disk.contains("total_bytes")) return disk.value("error", "");
  const double total = disk["total_bytes"];
  const double free = disk["free_bytes"];
  return fmt::format("{} / {}", human_bytes(total - free), human_bytes(total));
}

std::string roles_text(const json& node) {
  std::string out;
  for (const auto& role : node.value("roles", json::object()).items()) out += (out.empty() ? "" : ",") + role.key();
  return out;
}

/// The ring as the node that has heard of the latest one sees it, what a further one waits for, and the shards on the way.
void print_ring(const json& status) {
  json ring;
  std::string waits_for;
  for (const json& node : status["nodes"]) {
    if (!node.contains("ring")) continue;
    const json& one = node["ring"];
    if (ring.is_null() || one.value("epoch", 0) > ring.value("epoch", 0)) ring = one;
    if (!one.value("waits_for", "").empty()) waits_for = one["waits_for"];
    const std::string standing = one.value("standing", "");
    if (standing != "member") fmt::print("  {}: {}\n", node.value("label", ""), standing);
  }
  if (ring.is_null() || ring.value("epoch", 0) == 0) return;
  const auto active = std::ranges::count_if(ring["nodes"], [](const json& node) { return node.value("state", "") == "active"; });
  fmt::print("Ring:   epoch {}, {} nodes, {}\n", ring.value("epoch", 0), active,
             ring.value("settled", false) ? "settled" : fmt::format("{} of {} shards are where it says", ring.value("satisfied", 0), ring.value("shards", 0)));
  if (!waits_for.empty()) fmt::print("  another ring waits: {}\n", waits_for);
  std::size_t moving = 0;
  for (const json& shard : status["shards"]) {
    if (!shard.contains("move")) continue;
    if (++moving > kShardsShown) continue;
    const json& move = shard["move"];
    fmt::print("  shard {}: {}{}{}, {} %{}\n", shard.value("shard", 0), move.value("phase", ""), move.value("to", "").empty() ? "" : ", to " + move.value("to", ""),
               move.value("from", "").empty() ? "" : ", from " + move.value("from", ""), move.value("percent", 0),
               move.value("behind", 0) > 0 ? fmt::format(", {} entries behind", move.value("behind", 0)) : "");
  }
  if (moving > kShardsShown) fmt::print("  and {} shards more\n", moving - kShardsShown);
}

std::string repair_text(const json& repair) {
  const auto led = repair.value("shards_led", 0u);
  const auto satisfied = repair.value("shards_satisfied", 0u);
  std::string waits;
  for (const json& label : repair.value("waits_for", json::array())) waits += (waits.empty() ? "" : ", ") + label.get<std::string>();
  if (led > 0 && satisfied == led) return fmt::format("every blob is where ring {} wants it", repair.value("epoch", 0));
  std::string text = fmt::format("ring {}: {} of {} shards satisfied, {} copies ({}) to make, {} to delete", repair.value("epoch", 0), satisfied, led,
                                 repair.value("copies_left", 0), human_bytes(repair.value("bytes_left", 0.0)), repair.value("let_go_left", 0));
  if (repair.value("bytes_per_second", 0.0) > 0) text += fmt::format(", {}/s", human_bytes(repair["bytes_per_second"].get<double>()));
  if (repair.contains("eta_s")) text += fmt::format(", about {} left", human_duration(repair["eta_s"].get<double>()));
  if (!waits.empty()) text += "; no answer from " + waits;
  if (repair.value("without_copy", 0) > 0) text += fmt::format("; {} blobs have no good copy", repair.value("without_copy", 0));
  return text;
}

void print_table(const json& status) {
  std::vector<std::vector<std::string>> rows{{"NODE", "ADDRESS", "STATE", "UP FOR", "INCARNATION", "LEADS", "LAG", "METADATA USED", "BLOBS USED", "MEMORY", "AGENTS"}};
  std::vector<std::string> notes;
  for (const json& node : status["nodes"]) {
    if (!node.value("up", false)) {
      rows.push_back({node.value("label", ""), node.value("host", ""), "down", "-", "-", "-", "-", "-", "-", "-", "-"});
      notes.push_back(fmt::format("{}: {}", node.value("label", ""), node.value("error", "")));
      continue;
    }
    const json& shards = node["groups"];
    rows.push_back({node.value("label", ""), node.value("host", ""), node.value("ready", false) ? "ready" : "waiting",
                    human_duration(node.value("uptime_s", 0.0)), node.value("incarnation", "").substr(0, 8),
                    fmt::format("{} of {}", shards.value("led", 0), shards.value("total", 0)), fmt::format("{}", shards.value("lag_entries", 0)),
                    disk_text(node, "metadata"), disk_text(node, "blobs"), human_bytes(node.value("resident_bytes", 0.0)),
                    fmt::format("{}", node.value("agents_seen", 0))});
    if (!node.value("ready", false)) notes.push_back(fmt::format("{}: {}", node.value("label", ""), node.value("not_ready", "")));
    for (const json& shard : node.value("fenced", json::array()))
      notes.push_back(fmt::format("{}: shard {} is fenced: {}", node.value("label", ""), shard.value("shard", 0), shard.value("why", "")));
    for (const json& peer : node.value("peers", json::array())) {
      if (!peer.value("refused", "").empty()) notes.push_back(fmt::format("{} and {}: {}", node.value("label", ""), peer.value("label", ""), peer.value("refused", "")));
    }
  }
  fmt::print("{}\n", format_table(rows));
  const json& shards = status["summary"];
  std::string leaders;
  for (const auto& leader : shards["leaders"].items()) leaders += fmt::format("{}{} {}", leaders.empty() ? "" : ", ", leader.key(), leader.value().dump());
  const auto lost = shards["without_leader"].size();
  fmt::print("Shards: {}; leaders: {}{}\n", shards.value("total", 0), leaders.empty() ? "nobody" : leaders,
             lost == 0             ? ""
             : lost <= kShardsShown ? fmt::format("; without a leader: {}", shards["without_leader"].dump())
                                    : fmt::format("; {} without a leader", lost));
  print_ring(status);
  for (const json& node : status["nodes"]) {
    if (node.value("up", false)) {
      fmt::print("Roles:  {}\n", roles_text(node));
      break;
    }
  }
  fmt::print("Repair: {}\n", repair_text(status.value("repair", json::object())));
  for (const std::string& note : notes) fmt::print("  {}\n", note);
  fmt::print("{}\n", status.value("words", ""));
}

int show(const Words& words, Output output) {
  const auto target = parse_target(words.host, kAdminPort);
  if (!target) return report(target.error()), kExitUsage;
  Caller caller;
  const auto text = caller.get(target->host, target->port, "/status", std::chrono::seconds(15));
  if (!text) {
    return report(text.error(), fmt::format("no node answers at {}:{}; is `kraken node` running there, and is that its node.host?", target->host, target->port));
  }
  const json status = json::parse(*text, nullptr, false);
  if (!status.is_object() || !status.contains("nodes")) return report(Error{Code::kProtocol, "what answers there is not a kraken node"});
  if (output == Output::kJson) {
    fmt::print("{}", *text);
  } else {
    print_table(status);
  }
  // Whoever scripts this wants to know without reading: a shard without a leader cannot be written.
  return status["summary"]["without_leader"].empty() ? kExitOk : kExitUnavailable;
}

}  // namespace

void add_status(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* command = app.add_subcommand("status", "How the cluster is: nodes, leaders, lag, disks, agents");
  command->add_option("--host", words->host, "Any node; host or host:port of its admin port")->capture_default_str();
  add_output_option(*command, invocation);
  command->footer("Example:\n  kraken status --host 10.0.0.1\n  kraken status -o json | jq '.nodes[].ready'\n\nExit code 4 if a shard has no leader or nobody answers.");
  command->callback([&invocation, words] { invocation.run = [&invocation, words] { return show(*words, invocation.output); }; });
}

}  // namespace kraken::tools
