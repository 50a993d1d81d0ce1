#pragma once
// Peers of the swarm: ids, infohashes, and stock's JSON of them (facts §3.4-6). Threads: plain values.

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "src/base/error.h"

namespace kraken {

/// 20 bytes; as text 40 lower-case hex digits, in stock's JSON an array of 20 numbers.
template <class Tag>
class Bytes20 {
 public:
  using Raw = std::array<std::uint8_t, 20>;
  Bytes20() = default;
  explicit Bytes20(const Raw& raw) : raw_(raw) {}
  static Result<Bytes20> parse(std::string_view hex40);
  static Result<Bytes20> from_raw(std::string_view raw20);
  static Result<Bytes20> from_json(const nlohmann::json& array);
  nlohmann::json json() const;
  std::string hex() const;
  std::string_view raw() const { return {reinterpret_cast<const char*>(raw_.data()), raw_.size()}; }
  friend auto operator<=>(const Bytes20&, const Bytes20&) = default;

 private:
  Raw raw_{};
};

using PeerId = Bytes20<struct PeerIdTag>;
using InfoHash = Bytes20<struct InfoHashTag>;

/// SHA-1 of "<ip>:<port>": stock's addr_hash factory.
PeerId peer_id_of_address(std::string_view ip, std::uint16_t port);
PeerId random_peer_id();

struct PeerInfo {
  PeerId peer_id;
  std::string ip;  // or a host name
  std::uint16_t port = 0;
  bool origin = false;
  bool complete = false;

  /// Keys in stock's order.
  nlohmann::ordered_json json() const;
  static Result<PeerInfo> from_json(const nlohmann::json& object);
  friend bool operator==(const PeerInfo&, const PeerInfo&) = default;
};

}  // namespace kraken

template <class Tag>
struct std::hash<kraken::Bytes20<Tag>> {
  std::size_t operator()(const kraken::Bytes20<Tag>& id) const noexcept {
    return std::hash<std::string_view>{}(id.raw());
  }
};
