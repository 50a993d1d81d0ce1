#include "http/health.h"
#include "src/origin/routes.h"

#include <nlohmann/json.hpp>

#include <fstream>

#include "src/base/hex.h"
#include "tests/unit/src/blobs/cluster.h"

namespace kraken::origin {
namespace {

using blobs::test::Cluster;
using blobs::test::pattern;
using nlohmann::json;

struct Reply {
  int status = 0;
  http::Headers headers;
  std::optional<std::uint64_t> content_length;
  std::string body;
};

/// Three origins, labelled as the recorded ones were, so that the ring is the same.
class Origins {
 public:
  explicit Origins(std::string peer_id_hex = std::string(40, '0'), std::size_t max_replica = 2)
      : cluster_(3, max_replica,
                 [this, peer_id_hex](http::Router& router, blobs::test::Node& node) {
                   Context context{.blobs = *node.service, .client = client_, .addresses = ring::fixed_addresses(addresses_), .healthy = {},
                                   .peer_context = {}};
                   context.peer_context = [peer_id_hex] {
                     return PeerContext{.ip = "127.0.0.1", .port = 15040, .peer_id_hex = peer_id_hex, .zone = "zone0",
                                        .cluster = "stock"};
                   };
                   add_routes(router, std::move(context));
                   http::add_health(router, {});
                 },
                 4u << 20, {"127.0.0.1:15030", "127.0.0.1:15031", "127.0.0.1:15032"}) {}

  Result<Reply> ask(std::size_t node, http::Method method, std::string target, http::Headers headers = {}, std::string body = {}) {
    http::ClientRequest request;
    request.method = method;
    request.host = "127.0.0.1";
    request.port = cluster_.node(node).server->port();
    request.target = std::move(target);
    request.headers = std::move(headers);
    request.body = std::move(body);
    return cluster_.run(send(cluster_.http(), std::move(request)));
  }
  Cluster& cluster() { return cluster_; }

 private:
  static net::Task<Reply> send(http::Client& client, http::ClientRequest request) {
    KR_CO_TRY(auto response, co_await client.send(std::move(request)));
    Reply reply{.status = response.status, .headers = response.headers, .content_length = response.content_length, .body = {}};
    KR_CO_TRY(reply.body, co_await response.read_all(64u << 20));
    co_return reply;
  }

  std::map<std::string, blobs::Address> addresses_ = {{"127.0.0.1:15030", {"127.0.0.1", 15030}},
                                                      {"127.0.0.1:15031", {"127.0.0.1", 15031}},
                                                      {"127.0.0.1:15032", {"127.0.0.1", 15032}}};
  net::FilePool pool_{1, 64};
  http::Client client_{pool_};
  Cluster cluster_;
};

std::string header_of(const json& message, const std::string& name) {
  for (const auto& line : message["headers"]) {
    if (http::equal_ignoring_case(line[0].get<std::string>(), name)) return line[1].get<std::string>();
  }
  return {};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// One recorded exchange, brought about and asked again. Where the recording has only a digest of a blob whose bytes are
/// not known, a blob of the same length stands in for it, in the request too.
class Exchange {
 public:
  explicit Exchange(const json& recorded) : recorded_(recorded) {
    line_ = recorded["request"]["line"].get<std::string>();
    method_ = line_.substr(0, line_.find(' '));
    target_ = line_.substr(method_.size() + 1, line_.rfind(' ') - method_.size() - 1);
    node_ = static_cast<std::size_t>(recorded["to"].get<std::string>().back() - '0');
    status_ = std::stoi(recorded["response"]["line"].get<std::string>().substr(9, 3));
    gzip_ = header_of(recorded["response"], "Content-Encoding") == "gzip";
  }

  void replay() {
    SCOPED_TRACE(line_);
    Origins origins(peer_id());
    prepare(origins);
    http::Headers headers;
    for (const auto& line : recorded_["request"]["headers"]) {
      const std::string name = line[0].get<std::string>();
      if (name == "Content-Range" || name == "Content-Type") headers.add(name, line[1].get<std::string>());
    }
    std::string body;
    if (recorded_["request"]["body"].is_string()) body = recorded_["request"]["body"].get<std::string>();
    if (method_ == "PATCH") body = content_.substr(range_start_, range_end_ - range_start_);
    const auto reply = origins.ask(node_, http::method_of(method_), target_, headers, body);
    ASSERT_TRUE(reply) << reply.error().to_string();
    EXPECT_EQ(reply->status, status_) << reply->body;
    compare(*reply);
  }

 private:
  /// The id of the recorded peer context, which our factory did not make.
  std::string peer_id() const {
    const auto& body = recorded_["response"]["body"];
    if (!body.is_string() || !target_.ends_with("/peercontext")) return std::string(40, '0');
    std::string hex;
    const json context = json::parse(body.get<std::string>());
    for (const auto& byte : context["peer_id"]) hex += fmt::format("{:02x}", byte.get<unsigned>());
    return hex;
  }

  void prepare(Origins& origins) {
    const auto at = target_.find("sha256:");
    if (at == std::string::npos || target_.size() < at + 71) return;
    const std::string hex = target_.substr(at + 7, 64);
    find_content(hex);
    target_ = replaced(target_, hex, Digest::of(content_).hex());
    const bool upload = target_.find("/uploads") != std::string::npos;
    if (!upload) {
      if (status_ == 200) ASSERT_TRUE(origins.cluster().push(node_, content_));
      return;
    }
    if (method_ == "POST") {
      if (status_ == 409) ASSERT_TRUE(origins.cluster().push(node_, content_));
      return;
    }
    blobs::Service& service = origins.cluster().service(node_);
    const auto id = origins.cluster().run(service.start_upload({}));
    ASSERT_TRUE(id);
    const std::string before = method_ == "PUT" ? content_ : content_.substr(0, range_start_);
    ASSERT_TRUE(origins.cluster().run(service.append(*id, 0, before.size(), Cluster::body(before))));
    target_ = target_.substr(0, target_.rfind('/') + 1) + id->str();
  }

  void find_content(const std::string& hex) {
    for (const std::size_t length : {0UL, 10UL, 5242880UL}) {
      if (Digest::of(pattern(length)).hex() == hex) {
        content_ = pattern(length);
        break;
      }
    }
    const std::string range = header_of(recorded_["request"], "Content-Range");
    if (!range.empty()) {
      range_start_ = std::stoul(range);
      range_end_ = std::stoul(range.substr(range.find('-') + 1));
    }
    const std::string length = header_of(recorded_["response"], "Content-Length");
    if (content_.empty() && Digest::of("").hex() != hex) {
      std::size_t bytes = std::max<std::size_t>(range_end_, 100);
      if (method_ == "HEAD" && status_ == 200) bytes = std::stoul(length);
      content_ = pattern(bytes, 7);
    }
  }

  /// What a client reads: the headers that carry meaning, and the body.
  void compare(const Reply& reply) const {
    const json& recorded = recorded_["response"];
    if (const std::string locations = header_of(recorded, "Origin-Locations"); !locations.empty()) {
      EXPECT_EQ(reply.headers.first("Origin-Locations"), locations);
    }
    if (!header_of(recorded, "Location").empty()) {
      EXPECT_TRUE(UploadId::parse(reply.headers.first("Location"))) << reply.headers.first("Location");
    }
    if (gzip_) return;  // by its NGINX; the bytes inside are compared where it did not
    const bool cleanup = target_.starts_with("/forcecleanup");  // what it deletes is ours to decide: README.md
    if (const std::string type = header_of(recorded, "Content-Type"); !type.empty()) {
      EXPECT_EQ(reply.headers.first("Content-Type"), type);
    }
    if (const std::string length = header_of(recorded, "Content-Length"); !length.empty() && !cleanup) {
      ASSERT_TRUE(reply.content_length);
      EXPECT_EQ(*reply.content_length, std::stoul(length));
    }
    const json& body = recorded["body"];
    if (cleanup) {
      EXPECT_TRUE(json::parse(reply.body).contains("deleted") && json::parse(reply.body).contains("errors"));
    } else if (body.is_string()) {
      EXPECT_EQ(reply.body, body.get<std::string>());
    } else {
      EXPECT_EQ(reply.body.size(), body["length"].get<std::size_t>());
      EXPECT_EQ(Digest::of(reply.body).hex(), body["sha256"].get<std::string>());
    }
  }

  const json& recorded_;
  std::string line_;
  std::string method_;
  std::string target_;
  std::size_t node_ = 0;
  int status_ = 0;
  bool gzip_ = false;
  std::string content_;
  std::size_t range_start_ = 0;
  std::size_t range_end_ = 0;
};

TEST(OriginGolden, EveryExchangeRecordedWithStockIsAnsweredAlike) {
  std::ifstream file(KR_GOLDEN_FOLDER "/stock_wire.json");
  const json recorded = json::parse(file);
  int replayed = 0;
  for (const json& exchange : recorded["http"]) {
    if (!exchange["to"].get<std::string>().starts_with("origin")) continue;
    Exchange(exchange).replay();
    ++replayed;
  }
  EXPECT_EQ(replayed, 43);
}

class OriginTest : public ::testing::Test {
 protected:
  static std::string blob_path(const Digest& digest) { return "/namespace/test%2Falpine/blobs/" + digest.str(); }
  std::string start(std::size_t node, const Digest& digest) {
    const auto reply = origins_.ask(node, http::Method::kPost, blob_path(digest) + "/uploads");
    EXPECT_EQ(reply->status, 200) << reply->body;
    return std::string(reply->headers.first("Location"));
  }
  int patch(std::size_t node, const Digest& digest, const std::string& uid, const std::string& range, const std::string& body) {
    return origins_.ask(node, http::Method::kPatch, blob_path(digest) + "/uploads/" + uid, {{"Content-Range", range}}, body)->status;
  }
  Reply commit(std::size_t node, const Digest& digest, const std::string& uid) {
    return origins_.ask(node, http::Method::kPut, blob_path(digest) + "/uploads/" + uid).value();
  }
  Origins origins_;
};

TEST_F(OriginTest, AChunkedUploadIsReadBackFromEveryNode) {
  const std::string content = pattern(6u << 20);
  const Digest digest = Digest::of(content);
  const std::string uid = start(1, digest);
  EXPECT_EQ(patch(1, digest, uid, "0-4194304", content.substr(0, 4u << 20)), 200);
  EXPECT_EQ(patch(1, digest, uid, "4194304-6291456", content.substr(4u << 20)), 200);
  EXPECT_EQ(commit(1, digest, uid).status, 200);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto got = origins_.ask(i, http::Method::kGet, blob_path(digest));
    EXPECT_EQ(got->status, 200);
    EXPECT_EQ(got->body, content);
    const auto part = origins_.ask(i, http::Method::kGet, blob_path(digest), {{"Range", "bytes=100-4194399"}});
    EXPECT_EQ(part->status, 206);
    EXPECT_EQ(part->headers.first("Content-Range"), "bytes 100-4194399/6291456");
    EXPECT_EQ(part->body, content.substr(100, 4194300));
  }
  EXPECT_EQ(origins_.ask(0, http::Method::kGet, blob_path(digest), {{"Range", "bytes=6291456-"}})->status, 416);
  EXPECT_EQ(origins_.ask(0, http::Method::kPost, blob_path(digest) + "/uploads")->status, 409);
  EXPECT_EQ(origins_.ask(0, http::Method::kPost, blob_path(digest) + "/prefetch")->status, 200);
  // Its push may still be followed by a manifest: an explicit delete waits for the mark.
  const auto deleted = origins_.ask(0, http::Method::kDelete, "/internal/blobs/" + digest.str());
  EXPECT_EQ(deleted->status, 409);
  EXPECT_FALSE(deleted->body.empty());
}

TEST_F(OriginTest, BadInputIsRefusedAndNothingIsStored) {
  const Digest digest = Digest::of("hello");
  EXPECT_EQ(patch(0, digest, "0f1bf67e-5d57-4331-862d-c1adf0fbcd77", "0-5", "hello"), 404);
  EXPECT_EQ(patch(0, digest, "..%2F..%2Fetc%2Fpasswd", "0-5", "hello"), 404);
  std::string uid = start(0, digest);
  for (const std::string range : {"", "5", "0-5-6", "bytes 0-4", "a-b", "5-0", "-5"}) EXPECT_EQ(patch(0, digest, uid, range, "hello"), 400) << range;
  EXPECT_EQ(patch(0, digest, uid, "3-5", "lo"), 400);
  EXPECT_EQ(patch(0, digest, uid, "0-5", "hel"), 500);
  uid = start(0, digest);
  EXPECT_EQ(patch(0, digest, uid, "0-5", "hellp and more"), 200);
  const Reply wrong = commit(0, digest, uid);
  EXPECT_EQ(wrong.status, 500);
  EXPECT_EQ(wrong.body.find("move upload file to cache: verify digest: computed digest " + Digest::of("hellp").str()), 0U) << wrong.body;
  EXPECT_EQ(commit(0, digest, uid).status, 404);
  EXPECT_EQ(origins_.ask(0, http::Method::kGet, blob_path(digest))->status, 404);
  EXPECT_EQ(origins_.ask(0, http::Method::kGet, "/namespace/x/blobs/sha256:..%2F..%2Fpasswd")->status, 400);
  EXPECT_EQ(origins_.ask(0, http::Method::kGet, "/namespace/x/blobs/sha256:%00")->status, 400);
  EXPECT_EQ(origins_.ask(0, http::Method::kGet, "/namespace/a%00b/blobs/" + digest.str())->status, 400);
  EXPECT_EQ(origins_.ask(0, http::Method::kGet, "/namespace/..%2F..%2Fx/blobs/" + digest.str())->status, 400);
  EXPECT_EQ(origins_.ask(0, http::Method::kHead, "/internal/namespace/x/blobs/" + digest.str() + "?local=maybe")->status, 500);
  EXPECT_EQ(origins_.ask(0, http::Method::kPost, "/forcecleanup")->status, 400);
  EXPECT_EQ(origins_.ask(0, http::Method::kPost, "/forcecleanup?ttl_hr=x")->status, 400);
  EXPECT_EQ(origins_.ask(0, http::Method::kPost, "/internal/blobs/" + digest.str() + "/metainfo?piece_length=0")->status, 400);
}

TEST_F(OriginTest, AChunkSentAgainAfterALostAnswerIsTaken) {
  const Digest digest = Digest::of("hello world");
  const std::string uid = start(0, digest);
  EXPECT_EQ(patch(0, digest, uid, "0-5", "hello"), 200);
  EXPECT_EQ(patch(0, digest, uid, "0-5", "hello"), 200);
  EXPECT_EQ(patch(0, digest, uid, "5-11", " world"), 200);
  EXPECT_EQ(commit(0, digest, uid).status, 200);
}

TEST_F(OriginTest, MetainfoIsNeverOverwrittenByAnother) {
  ASSERT_TRUE(origins_.cluster().push(0, "hello"));
  const std::string path = "/internal/blobs/" + Digest::of("hello").str() + "/metainfo?piece_length=";
  EXPECT_EQ(origins_.ask(0, http::Method::kPost, path + "4194304")->status, 200);
  EXPECT_EQ(origins_.ask(0, http::Method::kPost, path + "1024")->status, 409);
}

TEST_F(OriginTest, WithoutAQuorumTheAnswerIs503NotNotFound) {
  origins_.cluster().port().set_down(true);
  EXPECT_EQ(origins_.ask(0, http::Method::kGet, blob_path(Digest::of("x")))->status, 503);
  EXPECT_EQ(origins_.ask(0, http::Method::kHead, "/internal/namespace/x/blobs/" + Digest::of("x").str())->status, 503);
}

net::Task<Reply> ask(http::Client& client, http::ClientRequest request) {
  KR_CO_TRY(auto response, co_await client.send(std::move(request)));
  Reply reply{.status = response.status, .headers = response.headers, .content_length = response.content_length, .body = {}};
  KR_CO_TRY(reply.body, co_await response.read_all(64u << 20));
  co_return reply;
}

TEST(OriginForward, AnUploadMayGoOnThroughAnyNode) {
  Cluster cluster(2, 2);
  net::FilePool pool(1, 64);
  std::map<std::string, blobs::Address> addresses;
  std::vector<std::unique_ptr<http::Server>> servers;
  for (std::size_t i = 0; i < 2; ++i) {
    http::Router router;
    add_routes(router, {.blobs = cluster.service(i), .client = cluster.http(), .addresses = ring::fixed_addresses(addresses), .healthy = {}, .peer_context = {}});
    servers.push_back(std::make_unique<http::Server>(cluster.loops(), pool, std::move(router), http::Limits{}, nullptr, "origin"));
    ASSERT_TRUE(servers[i]->listen("127.0.0.1", 0));
    addresses["node" + std::to_string(i)] = {"127.0.0.1", servers[i]->port()};
  }
  const std::string content = pattern(3u << 20);
  const Digest digest = Digest::of(content);
  const auto send = [&](http::Method method, const std::string& uid, std::string body, http::Headers headers = {}) {
    http::ClientRequest request;
    request.method = method;
    request.host = "127.0.0.1";
    request.port = servers[1]->port();  // the session is node 0's
    request.target = "/namespace/x/blobs/" + digest.str() + "/uploads/" + uid;
    request.headers = std::move(headers);
    request.body = std::move(body);
    return cluster.run(ask(cluster.http(), std::move(request))).value();
  };
  const std::string uid = cluster.run(cluster.service(0).start_upload({}))->str();
  EXPECT_EQ(send(http::Method::kPatch, uid, content, {{"Content-Range", "0-3145728"}}).status, 200);
  EXPECT_EQ(send(http::Method::kPut, uid, "", {{"Kraken-Forwarded", "1"}}).status, 404);  // one hop, never two
  EXPECT_EQ(send(http::Method::kPut, uid, "").status, 200);
  EXPECT_EQ(cluster.read(1, digest).value(), content);
  EXPECT_EQ(send(http::Method::kPut, uid, "").status, 404);  // node 0 answers, and does not know it
  servers[0]->stop(std::chrono::seconds(1));
  servers[0].reset();
  EXPECT_EQ(send(http::Method::kPut, uid, "").status, 503);  // nobody can know
  servers[1]->stop(std::chrono::seconds(1));
}

}  // namespace
}  // namespace kraken::origin
