#include <cstdio>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "src/core/digest.h"
#include "src/ring/hrw.h"
#include "src/ring/ring.h"
#include "tools/command.h"

namespace kraken::tools {
namespace {

struct Words {
  std::string file;
  std::string digest;
};

ring::Hash hash_of(const std::string& name) {
  if (name == "sha256") return ring::Hash::kSha256;
  return name == "md5" ? ring::Hash::kMd5 : ring::Hash::kMurmur3;
}

Result<ring::Ring> ring_of(const config::NodeConfig& config) {
  KR_TRY(const auto members, config::members(config));
  std::vector<ring::Member> nodes;
  for (const auto& member : members) nodes.push_back({member.host, member.label, static_cast<double>(member.weight)});
  return ring::Ring::make(std::move(nodes), hash_of(config.hashring.hash));
}

int explain(const Words& words, Output output) {
  config::LoadOptions options;
  options.file = words.file;
  auto loaded = config::load_node(options);
  if (!loaded) return report(loaded.error()), kExitConfig;
  auto ring = ring_of(loaded->config);
  if (!ring) return report(ring.error()), kExitConfig;
  auto digest = Digest::parse(words.digest.starts_with("sha256:") ? words.digest : "sha256:" + words.digest);
  if (!digest) return report(digest.error()), kExitUsage;
  const std::size_t replicas = loaded->config.hashring.max_replica;
  const auto owners = ring->owners(*digest, replicas);
  const auto order = ring->order(digest->shard_id());
  if (output == Output::kJson) {
    nlohmann::ordered_json json{{"digest", digest->str()}, {"max_replica", replicas}, {"owners", owners}, {"order", order}};
    fmt::print("{}\n", json.dump(2));
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows{{"RANK", "LABEL", "HOST", "WEIGHT", "OWNER"}};
  for (std::size_t i = 0; i < order.size(); ++i) {
    const ring::Member* member = ring->find(order[i]);
    rows.push_back({fmt::format("{}", i + 1), order[i], member->host, fmt::format("{:.0f}", member->weight), i < owners.size() ? "yes" : "stands in if an owner is down"});
  }
  fmt::print("{}\nring key {}, {}, max_replica {}\n\n{}", digest->str(), digest->hex().substr(0, 4), loaded->config.hashring.hash, replicas,
             format_table(rows));
  return kExitOk;
}

}  // namespace

void add_ring(CLI::App& app, Invocation& invocation) {
  CLI::App* ring = app.add_subcommand("ring", "Where the ring puts what");
  ring->require_subcommand(1);
  auto words = std::make_shared<Words>();
  CLI::App* command = ring->add_subcommand("explain", "Which nodes own a digest, and who stands in for them");
  command->add_option("digest", words->digest, "sha256:<hex>")->required();
  command->add_option("-c,--config", words->file, "A node's file, for its hashstate")->required();
  command->footer("Example:\n  kraken ring explain sha256:e3b0c442... --config node.yaml");
  add_output_option(*command, invocation);
  command->callback([&invocation, words] { invocation.run = [&invocation, words] { return explain(*words, invocation.output); }; });
}

}  // namespace kraken::tools
