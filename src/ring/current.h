#pragma once
// The ring that group 0 adopted last, and where its labels answer (design §6 "Ring change"). One per process; whoever places or
// looks for blobs asks it at each request and works with that snapshot to the end, so that a change needs no restart.
//
// A label that left the ring keeps its address for as long as this process lives: until its blobs are copied it may be the
// only one who has them.
// Threads: any.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "src/ring/ring.h"

namespace kraken::ring {

struct Address {
  std::string host;  // a name or an address
  std::uint16_t port = 0;
  friend bool operator==(const Address&, const Address&) = default;
};

/// Where a label's node answers for one role; nullopt: no such node. Looked up at each use.
using Addresses = std::function<std::optional<Address>(const std::string& label)>;

/// Those of a map, for ever.
Addresses fixed_addresses(std::map<std::string, Address> addresses);

class CurrentRing {
 public:
  explicit CurrentRing(Ring ring = {});
  CurrentRing(const CurrentRing&) = delete;
  CurrentRing& operator=(const CurrentRing&) = delete;

  /// Never null.
  std::shared_ptr<const Ring> get() const;
  /// `leaving`: nodes that are out of the ring and still there, for their addresses.
  /// False, and nothing happens, if the one there is of a later epoch: news may overtake each other.
  bool set(Ring ring, const std::vector<Member>& leaving = {});
  std::optional<std::string> host_of(const std::string& label) const;
  /// The labels' hosts with this port. REQUIRES: *this outlives what it gives.
  Addresses addresses(std::uint16_t port) const;

 private:
  mutable std::mutex mutex_;  // both; held for a copy of a pointer
  std::shared_ptr<const Ring> ring_;
  std::map<std::string, std::string> hosts_;  // of every label that any ring had
};

}  // namespace kraken::ring
