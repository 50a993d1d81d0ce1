#include "src/admin/spoken_error.h"

#include <gtest/gtest.h>

namespace kraken::admin {
namespace {

TEST(SpokenError, HasItsSentenceWhereStockSaysNothing) {
  const http::RequestHead head;
  for (const auto code : {Code::kNotFound, Code::kConflict, Code::kAlreadyExists, Code::kPending}) {
    EXPECT_EQ(http::plain_error(head, Error{code, "why"}).body, "") << "on stock's ports";
    const http::Answer spoken = spoken_error(head, Error{code, "why"});
    EXPECT_EQ(spoken.status, http::status_of(code));
    EXPECT_EQ(spoken.body, "why");
    EXPECT_EQ(spoken.headers.first("Content-Type"), "text/plain; charset=utf-8");
  }
  const http::Answer busy = spoken_error(head, Error{Code::kUnavailable, "why"});
  EXPECT_EQ(busy.body, "why");
  EXPECT_TRUE(busy.headers.has("Retry-After"));
}

}  // namespace
}  // namespace kraken::admin
