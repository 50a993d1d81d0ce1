#include "config/load.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kraken::config {
namespace {

using testing::HasSubstr;

class Load : public testing::Test {
 protected:
  Load() {
    std::string pattern = testing::TempDir() + "kraken_config_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Load() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path;
  }
  LoadOptions options(const std::string& text) {
    LoadOptions out;
    out.file = write("node.yaml", text);
    out.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto it = environment_.find(name);
      if (it == environment_.end()) return std::nullopt;
      return it->second;
    };
    return out;
  }
  NodeConfig node(const std::string& text) {
    auto loaded = load_node(options(text));
    EXPECT_TRUE(loaded) << loaded.error().detail;
    return loaded ? loaded->config : NodeConfig{};
  }
  std::string node_error(const std::string& text) {
    auto loaded = load_node(options(text));
    EXPECT_FALSE(loaded) << text;
    return loaded ? "" : loaded.error().detail;
  }

  std::filesystem::path folder_;
  std::map<std::string, std::string> environment_;
};

TEST_F(Load, AnEmptyFileIsTheDefaults) {
  const NodeConfig config = node("");
  EXPECT_EQ(config.node.host, "127.0.0.1");
  EXPECT_EQ(config.raft.shards, 128u);
  EXPECT_EQ(config.hashring.max_replica, 3u);
  EXPECT_EQ(config.metainfogen.piece_lengths, (std::map<std::uint64_t, std::uint64_t>{{0, 4 * kMiB}}));
  EXPECT_EQ(config.uploads_path(), "/var/lib/kraken/uploads");
}

TEST_F(Load, EveryKindOfValueIsRead) {
  const NodeConfig config = node(R"(
node: {host: 127.0.0.2, label: origin1}
hashstate:
  127.0.0.1: {label: origin0, weight: 30000}
  127.0.0.2: {label: origin1}
cluster: {hosts: [a, b]}
metainfogen:
  piece_lengths: {0: 1MB, 4GB: 8MB}
raft: {beat: 20ms, election_min: 200000000, election_max: 1s, shards: 8}
blobs: {sync: false, reserve: 5GB}
origin: {scheduler: {conn: {bandwidth: {egress_bits_per_sec: 200Mbit}}}}
tracker: {peerhandoutpolicy: {priority: default}, balanced_port: 0}
)");
  EXPECT_EQ(config.hashstate, (std::vector<HashstateEntry>{{"127.0.0.1", "origin0", 30000}, {"127.0.0.2", "origin1", 100}}));
  EXPECT_EQ(config.cluster.hosts, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(config.metainfogen.piece_lengths.at(4 * kGiB), 8 * kMiB);
  EXPECT_EQ(config.raft.election_min, 200ms);
  EXPECT_FALSE(config.blobs.sync);
  EXPECT_EQ(config.origin.scheduler.conn.bandwidth.egress_bits_per_sec, 200'000'000u);
  EXPECT_EQ(config.tracker.peerhandoutpolicy.priority, "default");
  EXPECT_EQ(config.tracker.balanced_port, 0);
}

TEST_F(Load, ExtendsPutsTheBaseUnderneathAndListsReplace) {
  write("base/base.yaml", "raft: {shards: 4, beat: 30ms}\ncluster: {hosts: [x, y]}\n");
  const NodeConfig config = node("extends: base/base.yaml\nraft: {shards: 16}\ncluster: {hosts: [z]}\n");
  EXPECT_EQ(config.raft.shards, 16u);
  EXPECT_EQ(config.raft.beat, 30ms);
  EXPECT_EQ(config.cluster.hosts, (std::vector<std::string>{"z"}));
}

TEST_F(Load, AFileThatExtendsItselfIsRefused) {
  write("b.yaml", "extends: node.yaml\n");
  EXPECT_THAT(node_error("extends: b.yaml\n"), HasSubstr("extends itself"));
  EXPECT_THAT(node_error("extends: missing.yaml\n"), HasSubstr("there is no configuration file"));
}

TEST_F(Load, TheEnvironmentIsSubstitutedInKeysAndValues) {
  environment_["NODE_1"] = "127.0.0.1";
  environment_["EMPTY"] = "";
  const NodeConfig config = node(R"(
hashstate: {"${NODE_1}": {label: origin0}}
metadata: {path: "${DATA:-/tmp/x}/metadata"}
blobs: {path: "/a/$${literal}/${EMPTY:-none}"}
)");
  EXPECT_EQ(config.hashstate.front().host, "127.0.0.1");
  EXPECT_EQ(config.metadata.path, "/tmp/x/metadata");
  EXPECT_EQ(config.blobs.path, "/a/${literal}/none");
  EXPECT_THAT(node_error("node:\n  label: ${NOBODY}\n"), testing::AllOf(HasSubstr("node.yaml:2"), HasSubstr("NOBODY")));
}

TEST_F(Load, AValueFromTheEnvironmentCannotAddKeys) {
  environment_["EVIL"] = "x\nblobs: {sync: false}";
  EXPECT_TRUE(node("cluster: {token: \"${EVIL}\"}\n").blobs.sync);
}

TEST_F(Load, SecretsAndTheCommandLineGoOnTop) {
  LoadOptions load = options("cluster: {token: public}\nnode: {host: 127.0.0.1}\n");
  load.secrets = write("secrets.yaml", "cluster: {token: hidden}\n");
  load.overrides = {{"node.host", "127.0.0.3"}};
  const auto loaded = load_node(load);
  ASSERT_TRUE(loaded) << loaded.error().detail;
  EXPECT_EQ(loaded->config.cluster.token, "hidden");
  EXPECT_EQ(loaded->config.node.host, "127.0.0.3");
  EXPECT_THAT(print(loaded->config), testing::Not(HasSubstr("hidden")));
}

TEST_F(Load, AnUnknownKeyIsNamedWithFileLineAndTheNearestKnown) {
  EXPECT_THAT(node_error("raft:\n  shards: 8\n  electon_min: 1s\n"),
              testing::AllOf(HasSubstr("node.yaml:3"), HasSubstr("raft.electon_min"), HasSubstr("did you mean raft.election_min?")));
  EXPECT_THAT(node_error("hashrng: {max_replica: 2}\n"), HasSubstr("did you mean hashring?"));
  EXPECT_THAT(node_error("announce_interval: 3s\n"), HasSubstr("did you mean tracker.trackerserver.announce_interval?"));
  EXPECT_THAT(node_error("qqqqqqqqqq: 1\n"), HasSubstr("kraken config print"));
}

TEST_F(Load, AllProblemsAreToldAtOnce) {
  const std::string text = node_error("raft: {shards: many}\nblobs: {sync: perhaps}\nfoo: 1\n");
  EXPECT_THAT(text, testing::AllOf(HasSubstr("raft.shards"), HasSubstr("blobs.sync"), HasSubstr("unknown key foo")));
}

TEST_F(Load, StocksKeysThatMeanNothingHereWarn) {
  const auto loaded = load_node(options("zap: {level: info}\norigin: {castore: {x: 1}, localdb: {source: y}}\n"));
  ASSERT_TRUE(loaded) << loaded.error().detail;
  ASSERT_EQ(loaded->warnings.size(), 3u);
  EXPECT_THAT(loaded->warnings[0], testing::AllOf(HasSubstr("node.yaml:1"), HasSubstr("zap is ignored")));
}

TEST_F(Load, StocksKeysThatWouldBeMissedAreRefused) {
  EXPECT_THAT(node_error("backends: [{namespace: .*}]\n"), HasSubstr("not in this version"));
  EXPECT_THAT(node_error("tracker: {peerstore: {redis: {enabled: true}}}\n"), HasSubstr("there is no Redis"));
}

TEST_F(Load, BadValuesSayWhatWouldBeRight) {
  EXPECT_THAT(node_error("raft: {beat: soon}\n"), HasSubstr("such as 5s"));
  EXPECT_THAT(node_error("admin: {port: 99999}\n"), HasSubstr("from 1 to 65535"));
  EXPECT_THAT(node_error("admin: {port: 15000}\n"), HasSubstr("both 15000"));
  EXPECT_THAT(node_error("raft: {shards: 100}\n"), HasSubstr("power of two"));
  EXPECT_THAT(node_error("raft: {election_min: 2s}\n"), HasSubstr("election_max"));
  EXPECT_THAT(node_error("tracker: {peerhandoutpolicy: {priority: best}}\n"), HasSubstr("default, completeness"));
  EXPECT_THAT(node_error("raft: 5\n"), HasSubstr("is a section"));
  EXPECT_THAT(node_error("node: {host: [a]}\n"), HasSubstr("takes one value"));
  EXPECT_THAT(node_error("metainfogen: {piece_lengths: {1MB: 4MB}}\n"), HasSubstr("no entry for 0"));
  EXPECT_THAT(node_error("blobs: {path: /x}\nmetadata: {path: /x/}\n"), testing::AnyOf(HasSubstr("different folders")));
  EXPECT_THAT(node_error("a: [\n"), HasSubstr("not YAML"));
  EXPECT_THAT(node_error("raft: {shards: 8}\nraft: {shards: 16}\n"), HasSubstr("given twice"));
  EXPECT_THAT(node_error("just words\n"), HasSubstr("a map of keys"));
}

TEST_F(Load, AHashstateMustMakeSense) {
  EXPECT_THAT(node_error("hashstate: {127.0.0.1: {label: a, weight: 0}}\n"), HasSubstr("weight \"0\""));
  EXPECT_THAT(node_error("hashstate: {127.0.0.1: {label: a}, 127.0.0.2: {label: a}}\n"),
              testing::AllOf(HasSubstr("label a"), HasSubstr("127.0.0.1"), HasSubstr("127.0.0.2")));
  EXPECT_THAT(node_error("hashstate: {127.0.0.1: {weight: 1}}\n"), HasSubstr("no label"));
  EXPECT_THAT(node_error("hashstate: {127.0.0.1: {label: a, wieght: 1}}\n"), HasSubstr("wieght"));
}

TEST_F(Load, BeyondLoopbackTheMissingTlsIsSpelledOut) {
  EXPECT_THAT(node_error("node: {host: 10.0.0.1}\n"), HasSubstr("tls.server.disabled: true"));
  EXPECT_THAT(node_error("node: {host: 0.0.0.0}\n"), HasSubstr("tls.server.disabled: true"));
  EXPECT_EQ(node("node: {host: 10.0.0.1}\ntls: {server: {disabled: true}}\n").node.host, "10.0.0.1");
  EXPECT_TRUE(is_loopback("127.3.2.1"));
  EXPECT_FALSE(is_loopback("127.example.com"));
}

TEST_F(Load, TheOwnLabelIsFoundOrAskedFor) {
  const HostIdentity identity{.hostname = "box", .addresses = {"10.0.0.7", "127.0.0.1"}};
  const std::string three = "hashstate: {127.0.0.1: {label: a}, 127.0.0.2: {label: b}, box: {label: c}}\n";
  EXPECT_EQ(*own_label(node(three + "node: {host: 127.0.0.2}\n"), identity), "b");
  EXPECT_EQ(*own_label(node(three + "node: {host: 127.0.0.9}\n"), identity), "c");
  EXPECT_EQ(*own_label(node(three + "node: {label: a, host: 127.0.0.9}\n"), identity), "a");
  EXPECT_EQ(*own_label(node("hashstate: {10.0.0.7: {label: a}, x: {label: b}}\nnode: {host: 127.0.0.9}\n"), identity), "a");
  const auto two = own_label(node("hashstate: {10.0.0.7: {label: a}, 127.0.0.1: {label: b}}\nnode: {host: 127.0.0.9}\n"), identity);
  ASSERT_FALSE(two);
  EXPECT_THAT(two.error().detail, HasSubstr("could be any of a, b"));
  const auto none = own_label(node("hashstate: {x: {label: a}}\n"), HostIdentity{.hostname = "y", .addresses = {}});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().detail, testing::AllOf(HasSubstr("no host of the hashstate is this machine"), HasSubstr("node.label")));
  const auto wrong = own_label(node(three + "node: {label: z}\n"), identity);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().detail, HasSubstr("no host of the hashstate has"));
}

TEST_F(Load, WithoutAHashstateStaticHostsAreLabelsAsInStock) {
  const auto all = members(node("cluster: {static: [\"b:15002\", \"a\"]}\n"));
  ASSERT_TRUE(all);
  EXPECT_EQ(*all, (std::vector<Member>{{"a:15002", "a", 100}, {"b:15002", "b", 100}}));
  EXPECT_EQ(members(node(""))->front().label, "127.0.0.1:15002");
  EXPECT_THAT(node_error("cluster: {static: [\"a:x\"]}\n"), HasSubstr("not host:port"));
}

TEST_F(Load, AnAgentMustKnowItsCluster) {
  LoadOptions load = options("agent: {host: 127.0.0.11}\n");
  const auto lost = load_agent(load);
  ASSERT_FALSE(lost);
  EXPECT_THAT(lost.error().detail, HasSubstr("cluster.hosts"));
  load = options("cluster: {hosts: 127.0.0.1}\nstore: {path: /x, cache_dir: /y}\n");
  const auto agent = load_agent(load);
  ASSERT_TRUE(agent) << agent.error().detail;
  EXPECT_EQ(agent->config.download_dir(), "/x/download");
  EXPECT_EQ(agent->config.cache_dir(), "/y");
}

TEST_F(Load, WhatIsPrintedLoadsToTheSame) {
  const NodeConfig config = node("hashstate: {127.0.0.1: {label: a, weight: 7}}\nblobs: {path: \"/a b/#c/$${d}\"}\nraft: {beat: 33ms}\n");
  const std::string text = print(config);
  EXPECT_EQ(print(node(text)), text);
}

TEST_F(Load, EveryExampleLoads) {
  environment_["KRAKEN_HOST"] = "127.0.0.1";
  environment_["KRAKEN_DATA"] = "/tmp/kraken";
  const std::filesystem::path examples = std::filesystem::path(KRAKEN_SOURCE_DIR) / "config/examples";
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(examples)) {
    if (entry.path().extension() != ".yaml") continue;
    LoadOptions load = options("");
    load.file = entry.path();
    const bool agent = entry.path().filename().string().starts_with("agent");
    std::string error;
    if (agent) {
      if (const auto loaded = load_agent(load); !loaded) error = loaded.error().detail;
    } else {
      if (const auto loaded = load_node(load); !loaded) error = loaded.error().detail;
    }
    EXPECT_EQ(error, "") << entry.path();
    ++files;
  }
  EXPECT_GE(files, 4);
}

}  // namespace
}  // namespace kraken::config
