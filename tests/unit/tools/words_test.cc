// Words, tables and numbers of the command line.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/caller.h"
#include "tools/command.h"

namespace kraken::tools {
namespace {

using testing::ElementsAre;

TEST(RewriteWords, SingleDashWordsOfTheGuideBecomeLongOptions) {
  EXPECT_THAT(rewrite_words({"-origin", "origin0", "-repair"}, "coh"), ElementsAre("--origin", "origin0", "--repair"));
  EXPECT_THAT(repair_words({"--origin", "origin0", "--repair"}), ElementsAre("repair", "--origin", "origin0"));
  EXPECT_THAT(repair_words({"--repair"}), ElementsAre("repair"));
  EXPECT_THAT(repair_words({"status", "--repair"}), ElementsAre("status", "--repair"));
  EXPECT_THAT(repair_words({"--version"}), ElementsAre("--version"));
  EXPECT_THAT(rewrite_words({"node", "-config=x.yaml"}, "coh"), ElementsAre("node", "--config=x.yaml"));
}

TEST(RewriteWords, ShortOptionsNumbersAndPathsStay) {
  EXPECT_THAT(rewrite_words({"-o", "json", "-ojson", "-h", "-c", "x", "-5", "-"}, "coh"), ElementsAre("-o", "json", "-ojson", "-h", "-c", "x", "-5", "-"));
  EXPECT_THAT(rewrite_words({"--host", "x", "--", "-name"}, "coh"), ElementsAre("--host", "x", "--", "-name"));
}

TEST(FormatTable, AlignsColumns) {
  EXPECT_EQ(format_table({{"A", "B"}, {"long", "x"}, {"y", ""}}), "A     B\nlong  x\ny\n");
}

TEST(Human, NumbersAreShort) {
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KB");
  EXPECT_EQ(human_bytes(3.5 * 1024 * 1024 * 1024), "3.5 GB");
  EXPECT_EQ(human_duration(0.014), "14 ms");
  EXPECT_EQ(human_duration(2.5), "2.5 s");
  EXPECT_EQ(human_duration(3 * 86400 + 4 * 3600), "3d 4h");
}

TEST(ParseTarget, TakesHostsWithAndWithoutPort) {
  EXPECT_EQ(parse_target("10.0.0.1", 14002)->port, 14002);
  EXPECT_EQ(parse_target("http://10.0.0.1:5000/", 14002)->port, 5000);
  EXPECT_EQ(parse_target("[::1]:80", 1)->host, "::1");
  EXPECT_EQ(parse_target("::1", 7)->port, 7);
  EXPECT_FALSE(parse_target("", 1));
  EXPECT_FALSE(parse_target("host:port", 1));
}

TEST(ExitCodes, FollowTheKindOfError) {
  EXPECT_EQ(exit_code_of({Code::kUnavailable, ""}), kExitUnavailable);
  EXPECT_EQ(exit_code_of({Code::kNotFound, ""}), kExitNotFound);
  EXPECT_EQ(exit_code_of({Code::kCorrupt, ""}), kExitDamaged);
  EXPECT_EQ(exit_code_of({Code::kIo, ""}), kExitFailed);
}

}  // namespace
}  // namespace kraken::tools
