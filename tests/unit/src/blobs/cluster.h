#pragma once
// Several nodes' blob services in one process: stores in a temporary folder, real HTTP between them on 127.0.0.1, and one
// metadata state machine without a log (fake_port.h). A node can be taken off the network, and its store be damaged.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "http/client.h"
#include "http/server.h"
#include "src/base/file.h"
#include "src/blobs/endpoints.h"
#include "src/blobs/http_peers.h"
#include "src/blobs/service.h"
#include "src/metadata/client.h"
#include "src/net/file_pool.h"
#include "src/net/loop.h"
#include "tests/unit/src/metadata/fake_port.h"

namespace kraken::blobs::test {

/// Peers that are known only once every node listens, and that can be cut off.
class Wire final : public Peers {
 public:
  std::unique_ptr<Peers> inner;
  std::set<std::string> down;
  std::atomic<int> refuse_next{0};  // so many calls find nobody listening

#define KR_WIRE_CALL(...)                                                                  \
  {                                                                                        \
    if (down.contains(label)) co_return fail(Code::kUnavailable, "{} is down", label);    \
    if (refuse_next.fetch_sub(1) > 0) co_return fail(Code::kUnavailable, "{} does not listen yet", label);   \
    auto answer = co_await inner->__VA_ARGS__;                                             \
    co_return answer;                                                                      \
  }
  net::Task<StoreId> store_id(std::string label) override KR_WIRE_CALL(store_id(label))
  net::Task<Held> have(std::string label, Digest digest) override KR_WIRE_CALL(have(label, digest))
  net::Task<void> stage(std::string label, std::string transfer, Digest digest, Body body) override
      KR_WIRE_CALL(stage(label, transfer, digest, std::move(body)))
  net::Task<StoreId> place(std::string label, std::string transfer, Digest digest) override
      KR_WIRE_CALL(place(label, transfer, digest))
  net::Task<StoreId> put(std::string label, std::string transfer, Digest digest, Body body) override
      KR_WIRE_CALL(put(label, transfer, digest, std::move(body)))
  net::Task<void> discard(std::string label, std::string transfer) override KR_WIRE_CALL(discard(label, transfer))
  net::Task<std::unique_ptr<Stream>> open(std::string label, Digest digest, std::uint64_t offset,
                                          std::uint64_t length) override KR_WIRE_CALL(open(label, digest, offset, length))
  net::Task<void> fetch(std::string label, Digest digest) override KR_WIRE_CALL(fetch(label, digest))
  net::Task<void> let_go(std::string label, Digest digest, std::uint64_t epoch) override KR_WIRE_CALL(let_go(label, digest, epoch))
  net::Task<void> release(std::string label, Digest digest) override KR_WIRE_CALL(release(label, digest))
#undef KR_WIRE_CALL
};

struct Node {
  std::string label;
  std::filesystem::path folder;
  std::unique_ptr<blob::Store> store;
  std::unique_ptr<Wire> wire;
  std::unique_ptr<Service> service;
  std::unique_ptr<http::Server> server;
};

inline std::string pattern(std::size_t size, char seed = 0) {
  std::string made(size, '\0');
  for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<char>(static_cast<char>(i % 251) ^ seed);
  return made;
}

class Cluster {
 public:
  using AddRoutes = std::function<void(http::Router&, Node&)>;

  /// `labels`: of the nodes, where the ring's order matters.
  explicit Cluster(std::size_t count, std::size_t max_replica = 3, AddRoutes more = {}, std::uint64_t piece_length = 256 * 1024,
                   std::vector<std::string> labels = {})
      : client_(port_, port_.shards()) {
    std::string name = (std::filesystem::temp_directory_path() / "kraken-blobs-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
    std::vector<ring::Member> members;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string label = labels.empty() ? "node" + std::to_string(i) : labels[i];
      members.push_back({.host = "127.0.0." + std::to_string(i + 1), .label = label, .weight = 100});
    }
    ring_.set(ring::Ring::make(members).value());
    http_ = std::make_unique<http::Client>(pool_);
    max_replica_ = max_replica;
    piece_length_ = piece_length;
    more_ = std::move(more);
    for (std::size_t i = 0; i < count; ++i) {
      auto node = std::make_unique<Node>();
      node->label = members[i].label;
      node->folder = folder_ / node->label;
      node->wire = std::make_unique<Wire>();
      open(*node);
      nodes_.push_back(std::move(node));
    }
    for (auto& node : nodes_) {
      node->wire->inner = std::make_unique<HttpPeers>(*http_, [this](const std::string& label) { return address_of(label); });
    }
  }
  ~Cluster() {
    for (auto& node : nodes_) node->server->stop(std::chrono::seconds(1));
    for (auto& node : nodes_) node->service->stop();
    loops_.stop();
    for (auto& node : nodes_) {
      node->server.reset();
      node->service.reset();
      node->wire.reset();
      node->store.reset();
    }
    http_.reset();
    std::filesystem::remove_all(folder_);
  }

  template <class T>
  Result<T> run(net::Task<T> task) {
    return net::block_on(loops_.at(0).executor(), std::move(task));
  }

  /// The node's process ends, and begins again with an empty disk. REQUIRES: nothing runs on it.
  void replace_disk(std::size_t index) {
    Node& node = *nodes_[index];
    node.server->stop(std::chrono::seconds(1));
    node.service->stop();
    node.server.reset();
    node.service.reset();
    node.store.reset();
    std::filesystem::remove_all(node.folder);
    open(node);
  }

  /// Nobody reaches the node, and it reaches nobody.
  void set_down(std::size_t index, bool down) {
    for (auto& node : nodes_) {
      if (down) {
        node->wire->down.insert(nodes_[index]->label);
      } else {
        node->wire->down.erase(nodes_[index]->label);
      }
    }
  }

  static BodyReader body(std::string content) {
    auto left = std::make_shared<std::string>(std::move(content));
    auto at = std::make_shared<std::size_t>(0);
    return [left, at](std::span<char> into) -> net::Task<std::size_t> { return read(left, at, into); };
  }

  /// A whole push through node `index`.
  Result<bool> push(std::size_t index, const std::string& content, bool named = false) {
    Service& service = *nodes_[index]->service;
    UploadHints hints;
    if (named) hints = {.digest = Digest::of(content), .bytes = content.size()};
    KR_TRY(const UploadId id, run(service.start_upload(hints)));
    KR_TRY(const std::uint64_t bytes, run(service.append(id, 0, content.size(), body(content))));
    EXPECT_EQ(bytes, content.size());
    return run(service.commit(id, Digest::of(content)));
  }

  Result<std::string> read(std::size_t index, Digest digest, std::uint64_t offset = 0,
                           std::optional<std::uint64_t> length = std::nullopt) {
    return run(read_all(*nodes_[index]->service, digest, offset, length));
  }

  std::vector<std::size_t> owners(const Digest& digest) const {
    std::vector<std::size_t> found;
    for (const std::string& label : nodes_[0]->service->owners(digest)) found.push_back(index_of(label));
    return found;
  }
  std::size_t index_of(const std::string& label) const {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i]->label == label) return i;
    }
    std::abort();
  }
  metadata::BlobFound record(const Digest& digest) { return run(client_.get_blob(digest, true)).value(); }
  bool holds(std::size_t index, const Digest& digest) const { return nodes_[index]->store->has(digest); }
  void flip(std::size_t index, const Digest& digest, std::uint64_t offset) {
    const auto fd = file::open(nodes_[index]->store->path_of(digest), O_RDWR);
    char byte = 0;
    ASSERT_TRUE(file::read_at(fd->get(), {&byte, 1}, offset));
    byte = static_cast<char>(byte ^ 1);
    ASSERT_TRUE(file::write_at(fd->get(), {&byte, 1}, offset));
  }
  std::size_t leftovers(std::size_t index) const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(nodes_[index]->folder / "uploads"), {}));
  }
  /// Until it holds; false after 20 s.
  static bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 4000; ++i) {
      if (holds()) return true;
      ::usleep(5000);
    }
    return false;
  }

  Node& node(std::size_t index) { return *nodes_[index]; }
  Service& service(std::size_t index) { return *nodes_[index]->service; }
  metadata::test::FakePort& port() { return port_; }
  ring::CurrentRing& ring() { return ring_; }
  metadata::Client& metadata() { return client_; }
  net::Loops& loops() { return loops_; }
  http::Client& http() { return *http_; }
  std::size_t size() const { return nodes_.size(); }

 private:
  void open(Node& node) {
    node.store = blob::Store::open({.path = node.folder / "blobs", .uploads_path = node.folder / "uploads"}).value();
    Options options;
    options.self = node.label;
    options.max_replica = max_replica_;
    options.piece_lengths = PieceLengths::make({{0, piece_length_}}).value();
    options.have_timeout = std::chrono::seconds(10);
    options.place_grace = std::chrono::seconds(10);  // so that a slow machine changes no test's outcome
    options.buffer_bytes = 64 * 1024;
    node.service = std::make_unique<Service>(options, ring_, *node.store, client_, *node.wire, loops_);
    http::Router router;
    add_internal_routes(router, *node.service);
    if (more_) more_(router, node);
    node.server = std::make_unique<http::Server>(loops_, pool_, std::move(router), http::Limits{}, nullptr, "origin");
    if (!node.server->listen("127.0.0.1", 0)) std::abort();
    const std::scoped_lock lock(addresses_mutex_);
    addresses_[node.label] = {.host = "127.0.0.1", .port = node.server->port()};
  }
  std::optional<Address> address_of(const std::string& label) {
    const std::scoped_lock lock(addresses_mutex_);
    const auto found = addresses_.find(label);
    if (found == addresses_.end()) return std::nullopt;
    return found->second;
  }

  static net::Task<std::size_t> read(std::shared_ptr<std::string> content, std::shared_ptr<std::size_t> at,
                                     std::span<char> into) {
    const std::size_t count = std::min(into.size(), content->size() - *at);
    std::copy_n(content->data() + *at, count, into.data());
    *at += count;
    co_return count;
  }
  static net::Task<std::string> read_all(Service& service, Digest digest, std::uint64_t offset,
                                         std::optional<std::uint64_t> length) {
    KR_CO_TRY(auto source, co_await service.open(digest, offset, length));
    std::string content;
    std::vector<char> buffer(10000);
    for (;;) {
      KR_CO_TRY(const Slice slice, co_await source->next(buffer));
      if (slice.bytes == 0) break;
      if (slice.fd >= 0) {
        std::string part(slice.bytes, '\0');
        KR_CO_TRY(const std::size_t got, file::read_at(slice.fd, part, slice.offset));
        content += part.substr(0, got);
      } else {
        content.append(buffer.data(), slice.bytes);
      }
    }
    co_return content;
  }

  std::filesystem::path folder_;
  ring::CurrentRing ring_;
  std::size_t max_replica_ = 3;
  std::uint64_t piece_length_ = 0;
  AddRoutes more_;
  std::mutex addresses_mutex_;
  std::map<std::string, Address> addresses_;
  metadata::test::FakePort port_;
  metadata::Client client_;
  net::Loops loops_{2};
  net::FilePool pool_{2, 1024};
  std::unique_ptr<http::Client> http_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace kraken::blobs::test
