#include "http/url.h"

#include <gtest/gtest.h>

#include "http/errors.h"
#include "http/headers.h"

namespace kraken::http {
namespace {

// The vectors of Go's net/url that stock Kraken's URLs rest on.
TEST(Url, EscapesAsGoDoes) {
  EXPECT_EQ("a%2Fb:c%20d+e%25", path_escape("a/b:c d+e%"));
  EXPECT_EQ("ns%2Fimg%3Atag", query_escape("ns/img:tag"));
  EXPECT_EQ("a+b%26c~-_.", query_escape("a b&c~-_."));
  EXPECT_EQ("%00%FF", path_escape(std::string_view("\0\xff", 2)));
  EXPECT_EQ("$&+=:@%3B%2C%3F", path_escape("$&+=:@;,?"));
}

TEST(Url, UnescapesWhatItEscaped) {
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(all, path_unescape(path_escape(all)));
  EXPECT_EQ(all, query_unescape(query_escape(all)));
  for (const auto* bad : {"%", "a%1", "%zz", "%%41"}) EXPECT_FALSE(path_unescape(bad)) << bad;
}

TEST(Url, AParameterIsDecodedAgainIfAnEscapeIsLeft) {
  EXPECT_EQ("test/alpine:latest", unescape_param("test%2Falpine:latest"));
  EXPECT_EQ("test/alpine:latest", unescape_param("test%252Falpine%253Alatest"));
  EXPECT_EQ("100%", unescape_param("100%25"));
  EXPECT_EQ("a+b", unescape_param("a+b"));
  EXPECT_FALSE(unescape_param("%zz"));
}

TEST(Url, QueriesAreDecoded) {
  RequestHead head;
  head.query_string = "a=1&b=x%2Fy+z&c&a=2&bad=%zz&=e";
  EXPECT_EQ("1", head.query("a"));
  EXPECT_EQ("x/y z", head.query("b"));
  EXPECT_EQ("", head.query("c"));
  EXPECT_EQ(std::nullopt, head.query("bad"));
  EXPECT_EQ(std::nullopt, head.query("d"));
}

TEST(Url, IsTakenApart) {
  auto url = parse_url("http://127.0.0.1:15002/a/b?c=d");
  ASSERT_TRUE(url);
  EXPECT_EQ("127.0.0.1", url->host);
  EXPECT_EQ(15002, url->port);
  EXPECT_EQ("/a/b?c=d", url->target);
  EXPECT_EQ("/", parse_url("http://host")->target);
  EXPECT_EQ(80, parse_url("http://host")->port);
  EXPECT_EQ(443, parse_url("https://host/")->port);
  EXPECT_EQ("/?x", parse_url("http://host?x")->target);
  EXPECT_EQ("::1", parse_url("http://[::1]:8/x")->host);
  EXPECT_EQ(8, parse_url("http://[::1]:8/x")->port);
  for (const auto* bad : {"host/a", "ftp://host/", "http://", "http://h:99999/", "http://u:p@h/", "http://h:x/"})
    EXPECT_FALSE(parse_url(bad)) << bad;
}

TEST(Headers, LinesOfOneNameAreJoined) {
  Headers headers{{"Accept", "a"}, {"X", "1"}, {"ACCEPT", "b, c"}};
  EXPECT_EQ("a, b, c", headers.get("accept"));
  EXPECT_EQ("a", headers.first("accept"));
  EXPECT_EQ(std::nullopt, headers.get("none"));
  headers.set("Accept", "d");
  EXPECT_EQ("d", headers.get("Accept"));
  EXPECT_EQ(2u, headers.size());
}

TEST(Errors, EveryCodeHasAStatusAndTheServersOwnComeBack) {
  for (int code = 0; code <= 21; ++code) {
    const int status = status_of(static_cast<Code>(code));
    EXPECT_GE(status, 200) << code;
    EXPECT_NE("Unknown", reason_of(status)) << code;
  }
  for (const auto code : {Code::kNotFound, Code::kConflict, Code::kOverloaded, Code::kUnavailable,
                          Code::kOutcomeUnknown, Code::kDiskFull, Code::kTooLarge, Code::kRangeNotSatisfiable,
                          Code::kInvalidArgument, Code::kPending, Code::kDenied, Code::kUnsupported})
    EXPECT_EQ(code, code_of(status_of(code)));
}

}  // namespace
}  // namespace kraken::http
