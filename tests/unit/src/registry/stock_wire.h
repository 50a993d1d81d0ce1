#pragma once
// The exchanges that were recorded from stock Kraken (tests/golden/stock_wire.json), to be replayed against our
// servers: same status, same headers that a client reads, same body.

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/unit/src/registry/http_harness.h"

namespace kraken::test {

struct Recorded {
  std::size_t number = 0;  // in the file
  std::string to;
  http::Method method = http::Method::kGet;
  std::string target;
  http::Headers headers;
  std::string body;
  int status = 0;
  http::Headers reply_headers;
  std::string reply_body;
};

inline std::vector<Recorded> recorded_with(const std::string& role) {
  std::ifstream file(KR_GOLDEN_FOLDER "/stock_wire.json");
  const auto json = nlohmann::json::parse(file);
  const auto headers_of = [](const nlohmann::json& lines) {
    http::Headers headers;
    for (const auto& line : lines) headers.add(line[0], line[1]);
    return headers;
  };
  const auto text_of = [](const nlohmann::json& body) {
    return body.is_string() ? body.get<std::string>() : std::string();
  };
  std::vector<Recorded> found;
  std::size_t number = 0;
  for (const auto& exchange : json["http"]) {
    Recorded recorded;
    recorded.number = number++;
    recorded.to = exchange["to"];
    if (recorded.to != role) continue;
    const std::string line = exchange["request"]["line"];
    const auto first = line.find(' ');
    const auto second = line.rfind(' ');
    recorded.method = http::method_of(line.substr(0, first));
    recorded.target = line.substr(first + 1, second - first - 1);
    for (const auto& header : headers_of(exchange["request"]["headers"]).all()) {
      if (header.name != "Host" && header.name != "Connection" && header.name != "Content-Length")
        recorded.headers.add(header.name, header.value);
    }
    recorded.body = text_of(exchange["request"]["body"]);
    recorded.status = std::stoi(exchange["response"]["line"].get<std::string>().substr(9, 3));
    recorded.reply_headers = headers_of(exchange["response"]["headers"]);
    recorded.reply_body = text_of(exchange["response"]["body"]);
    found.push_back(std::move(recorded));
  }
  return found;
}

/// `body`: what is expected instead of the recorded body, where ours differs by design.
inline void expect_as_recorded(HttpHarness& http, const Recorded& recorded, const std::string& body) {
  const auto reply = http.ask(recorded.method, recorded.target, recorded.headers, recorded.body);
  const std::string what =
      std::to_string(recorded.number) + " " + std::string(http::name_of(recorded.method)) + " " + recorded.target;
  EXPECT_EQ(reply.status, recorded.status) << what;
  EXPECT_EQ(reply.body, body) << what;
  EXPECT_EQ(reply.header("Content-Type"), recorded.reply_headers.get("Content-Type").value_or("")) << what;
  if (body == recorded.reply_body)
    EXPECT_EQ(reply.header("Content-Length"), recorded.reply_headers.get("Content-Length").value_or("")) << what;
}
inline void expect_as_recorded(HttpHarness& http, const Recorded& recorded) {
  expect_as_recorded(http, recorded, recorded.reply_body);
}

/// The blobs of the recording: byte i is i mod 251.
inline std::string recorded_blob(std::size_t bytes) {
  std::string content(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) content[i] = static_cast<char>(i % 251);
  return content;
}

}  // namespace kraken::test
