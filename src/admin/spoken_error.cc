#include "src/admin/spoken_error.h"

namespace kraken::admin {

http::Answer spoken_error(const http::RequestHead& head, const Error& error) {
  http::Answer answer = http::plain_error(head, error);
  if (answer.body.empty() && !error.detail.empty()) {
    answer.headers.set("Content-Type", "text/plain; charset=utf-8");
    answer.body = error.detail;
  }
  return answer;
}

}  // namespace kraken::admin
