#include "config/options.h"

#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "config/load.h"

namespace kraken::config {
namespace {

template <class C>
void check_table(const std::vector<Option<C>>& options) {
  std::set<std::string> paths;
  const C defaults;
  for (const Option<C>& option : options) {
    EXPECT_TRUE(paths.insert(option.path).second) << option.path << " is declared twice";
    EXPECT_FALSE(option.meaning.empty()) << option.path;
    const Tree value = option.get(defaults);
    if (value.kind != Tree::Kind::kScalar || value.scalar.empty()) continue;
    C copy;
    const auto set = option.set(copy, value);
    EXPECT_TRUE(set) << option.path << ": its default is refused: " << set.error().detail;
    EXPECT_EQ(option.get(copy).scalar, value.scalar) << option.path;
  }
}

TEST(Options, EveryDefaultIsInItsRangeAndReadsBack) {
  check_table(node_options());
  check_table(agent_options());
}

TEST(Options, NoForeignKeyHidesAnOption) {
  for (const ForeignKey& key : foreign_keys()) {
    for (const auto& option : node_options()) EXPECT_NE(key.pattern, option.path);
    for (const auto& option : agent_options()) EXPECT_NE(key.pattern, option.path);
  }
}

TEST(Options, AnOptionOfOneProcessIsNoUnknownKeyOfTheOthers) {
  // Stock gives origins and agents the same scheduler section: whatever an agent takes there, a node takes or ignores.
  for (const auto& option : agent_options()) {
    if (!option.path.starts_with("scheduler.")) continue;
    const std::string path = "origin." + option.path;
    bool known = false;
    for (const auto& node : node_options()) known = known || node.path == path;
    for (const ForeignKey& key : foreign_keys()) known = known || key.pattern == "*." + option.path;
    EXPECT_TRUE(known) << path;
  }
}

TEST(Options, TheReferencePageIsCurrent) {
  std::ifstream file(KRAKEN_SOURCE_DIR "/docs/reference/config.md");
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str() == reference_page())
      << "docs/reference/config.md is out of date; write it again with: kraken config reference > docs/reference/config.md";
}

TEST(Options, TheSchemasNameEveryOption) {
  const auto schema = nlohmann::json::parse(node_schema());
  EXPECT_EQ(schema["properties"]["raft"]["properties"]["shards"]["default"], 128);
  EXPECT_EQ(schema["properties"]["tls"]["properties"]["server"]["properties"]["disabled"]["type"], "boolean");
  EXPECT_TRUE(nlohmann::json::parse(agent_schema())["properties"].contains("store"));
}

}  // namespace
}  // namespace kraken::config
