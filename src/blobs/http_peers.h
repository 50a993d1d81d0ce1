#pragma once
// Peers over /internal/v1/ of the other nodes' origin port (endpoints.h). A node that could not be reached is not dialled
// again for a second, so that a push does not wait for each of its blobs. Threads: any loop.

#include <map>
#include <mutex>
#include <string>

#include "http/client.h"
#include "src/blobs/peers.h"

namespace kraken::blobs {

struct Address {
  std::string host;
  std::uint16_t port = 0;
};

class HttpPeers final : public Peers {
 public:
  /// Label -> origin port, every node of the ring. `client` outlives it.
  HttpPeers(http::Client& client, std::map<std::string, Address> addresses);

  net::Task<StoreId> store_id(std::string label) override;
  net::Task<Held> have(std::string label, Digest digest) override;
  net::Task<void> stage(std::string label, std::string transfer, Digest digest, Body body) override;
  net::Task<StoreId> place(std::string label, std::string transfer, Digest digest) override;
  net::Task<StoreId> put(std::string label, std::string transfer, Digest digest, Body body) override;
  net::Task<void> discard(std::string label, std::string transfer) override;
  net::Task<std::unique_ptr<Stream>> open(std::string label, Digest digest, std::uint64_t offset,
                                          std::uint64_t length) override;
  net::Task<void> fetch(std::string label, Digest digest) override;
  net::Task<void> release(std::string label, Digest digest) override;

 private:
  struct Ask {
    http::Method method = http::Method::kGet;
    std::string target;
    http::Headers headers{};
    Body body{};
    Duration timeout = std::chrono::seconds(10);
  };
  /// Any status but 2xx as an error, with the code that the other node had.
  net::Task<http::ClientResponse> ask(std::string label, Ask ask);
  net::Task<StoreId> ask_store(std::string label, Ask ask);

  http::Client& client_;
  const std::map<std::string, Address> addresses_;
  std::mutex mutex_;
  std::map<std::string, MonotonicTime> down_until_;
};

}  // namespace kraken::blobs
