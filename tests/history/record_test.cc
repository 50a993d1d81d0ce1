#include "tests/history/record.h"

#include <gtest/gtest.h>

#include <sstream>

namespace kraken::history {
namespace {

Result<Recording> read(const std::string& text) {
  std::istringstream in(text);
  return read_recording(in);
}

constexpr const char* kStale = R"({"client":1,"key":"a","op":"put","value":"x","invoke":1000000,"return":2000000,"result":"ok","revision":3}
{"client":1,"key":"a","op":"put","value":"y","expect":3,"invoke":3000000,"return":4000000,"result":"ok","revision":4}

{"client":2,"key":"a","op":"get","invoke":5000000,"return":6000000,"result":"ok","seen":"x","revision":3}
{"client":2,"key":"b","op":"get","invoke":5000000,"return":6000000,"result":"ok","seen":null}
{"client":3,"key":"b","op":"put","value":"z","expect":0,"invoke":6000000,"return":null}
)";

TEST(Record, LinesBecomeOneHistoryForEachKey) {
  const auto recording = read(kStale);
  ASSERT_TRUE(recording) << recording.error().detail;
  ASSERT_EQ(recording->histories.size(), 2u);
  const auto& a = recording->histories.at("a");
  ASSERT_EQ(a.size(), 3u);
  EXPECT_EQ(a[1].op.expect, 3u);
  EXPECT_EQ(a[1].op.revision, 4u);
  EXPECT_EQ(a[2].op.seen, a[0].op.value);
  const auto& b = recording->histories.at("b");
  EXPECT_EQ(b[0].op.seen, 0u);
  EXPECT_EQ(b[1].ret, kNever);
  EXPECT_EQ(check(RegisterModel{}, b).verdict, Verdict::kOk);
}

TEST(Record, TheExcerptNamesTheReadAndTheWriteItSaw) {
  const auto recording = read(kStale);
  ASSERT_TRUE(recording);
  const auto& history = recording->histories.at("a");
  const auto report = check(RegisterModel{}, history);
  ASSERT_EQ(report.verdict, Verdict::kIllegal);
  const std::string text = excerpt(history, report, "a", *recording);
  EXPECT_NE(text.find("it stood at y, revision 4"), std::string::npos) << text;
  EXPECT_NE(text.find(">      4.000 ..      5.000 ms  client 2  get -> x at 3"), std::string::npos) << text;
  EXPECT_NE(text.find("w      0.000"), std::string::npos) << text;
}

TEST(Record, ARefusedWriteThatShowsIsAViolation) {
  const auto recording = read(R"({"key":"a","op":"put","value":"x","invoke":1,"return":2,"result":"refused"}
{"key":"a","op":"get","invoke":3,"return":4,"result":"ok","seen":"x"})");
  ASSERT_TRUE(recording);
  const auto& history = recording->histories.at("a");
  const auto report = check(RegisterModel{}, history);
  EXPECT_EQ(report.verdict, Verdict::kIllegal);
  EXPECT_NE(excerpt(history, report, "a", *recording).find("took effect after all"), std::string::npos);
}

TEST(Record, AMalformedLineIsNamed) {
  for (const char* line : {"{", R"({"op":"put"})", R"({"op":"get","key":"a","invoke":5,"return":4,"result":"ok","seen":null})",
                           R"({"op":"get","key":"a","invoke":1,"return":4,"result":"ok"})",
                           R"({"op":"put","value":"x","key":"a","invoke":1,"return":4,"result":"conflict"})",
                           R"({"op":"put","value":null,"key":"a","invoke":1,"return":4,"result":"ok"})"}) {
    const auto recording = read(std::string("\n") + line);
    ASSERT_FALSE(recording) << line;
    EXPECT_EQ(recording.error().detail.rfind("line 2", 0), 0u) << recording.error().detail;
  }
}

}  // namespace
}  // namespace kraken::history
