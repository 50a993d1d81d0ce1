#pragma once
// Peers over /internal/v1/ of the other nodes' origin port (endpoints.h). A node that could not be reached is not dialled
// again for a second, so that a push does not wait for each of its blobs; but by store_id, which is how to find out, and which says
// nothing to the other calls unless the node answers: a probe of a node that is about to listen must not cost a push. Threads: any loop.

#include <map>
#include <mutex>
#include <string>

#include "http/client.h"
#include "src/blobs/peers.h"
#include "src/ring/current.h"

namespace kraken::blobs {

using ring::Address;

class HttpPeers final : public Peers {
 public:
  /// Label -> origin port. `client` outlives it.
  HttpPeers(http::Client& client, ring::Addresses addresses);

  net::Task<StoreId> store_id(std::string label) override;
  net::Task<Held> have(std::string label, Digest digest) override;
  net::Task<void> stage(std::string label, std::string transfer, Digest digest, Body body) override;
  net::Task<StoreId> place(std::string label, std::string transfer, Digest digest) override;
  net::Task<StoreId> put(std::string label, std::string transfer, Digest digest, Body body) override;
  net::Task<void> discard(std::string label, std::string transfer) override;
  net::Task<std::unique_ptr<Stream>> open(std::string label, Digest digest, std::uint64_t offset,
                                          std::uint64_t length) override;
  net::Task<void> fetch(std::string label, Digest digest) override;
  net::Task<void> let_go(std::string label, Digest digest, std::uint64_t epoch) override;
  net::Task<void> release(std::string label, Digest digest) override;

 private:
  struct Ask {
    http::Method method = http::Method::kGet;
    std::string target;
    http::Headers headers{};
    Body body{};
    Duration timeout = std::chrono::seconds(10);
    bool probe = false;  // dials in any case, and a failure is not remembered
  };
  /// Any status but 2xx as an error, with the code that the other node had.
  net::Task<http::ClientResponse> ask(std::string label, Ask ask);
  net::Task<StoreId> ask_store(std::string label, Ask ask);

  http::Client& client_;
  const ring::Addresses addresses_;
  std::mutex mutex_;
  std::map<std::string, MonotonicTime> down_until_;
};

}  // namespace kraken::blobs
