#include "src/core/peer.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/base/hex.h"
#include "src/base/rng.h"
#include "src/core/digest.h"

namespace kraken {

template <class Tag>
Result<Bytes20<Tag>> Bytes20<Tag>::parse(std::string_view hex40) {
  Raw raw;
  if (!from_hex(hex40, raw)) return fail(Code::kInvalidArgument, "\"{:.80}\" is not 40 hexadecimal digits", hex40);
  return Bytes20(raw);
}

template <class Tag>
Result<Bytes20<Tag>> Bytes20<Tag>::from_raw(std::string_view raw20) {
  Raw raw;
  if (raw20.size() != raw.size()) return fail(Code::kInvalidArgument, "an id is 20 bytes, not {}", raw20.size());
  std::ranges::copy(raw20, reinterpret_cast<char*>(raw.data()));
  return Bytes20(raw);
}

template <class Tag>
Result<Bytes20<Tag>> Bytes20<Tag>::from_json(const nlohmann::json& array) {
  Raw raw;
  if (!array.is_array() || array.size() != raw.size()) {
    return fail(Code::kInvalidArgument, "an id is an array of 20 numbers");
  }
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const nlohmann::json& number = array[i];
    if (!number.is_number_unsigned() || number.get<std::uint64_t>() > 255) {
      return fail(Code::kInvalidArgument, "number {} of an id is not 0 to 255", i);
    }
    raw[i] = number.get<std::uint8_t>();
  }
  return Bytes20(raw);
}

template <class Tag>
nlohmann::json Bytes20<Tag>::json() const {
  return nlohmann::json(raw_);
}

template <class Tag>
std::string Bytes20<Tag>::hex() const {
  return to_hex(raw_);
}

template class Bytes20<PeerIdTag>;
template class Bytes20<InfoHashTag>;

PeerId peer_id_of_address(std::string_view ip, std::uint16_t port) { return PeerId(sha1(fmt::format("{}:{}", ip, port))); }

PeerId random_peer_id() {
  PeerId::Raw raw;
  random_bytes(std::as_writable_bytes(std::span(raw)));
  return PeerId(raw);
}

nlohmann::ordered_json PeerInfo::json() const {
  return {{"peer_id", peer_id.json()}, {"ip", ip}, {"port", port}, {"origin", origin}, {"complete", complete}};
}

Result<PeerInfo> PeerInfo::from_json(const nlohmann::json& object) {
  if (!object.is_object()) return fail(Code::kInvalidArgument, "a peer is an object");
  PeerInfo peer;
  const auto id = object.find("peer_id");
  if (id == object.end()) return fail(Code::kInvalidArgument, "the peer has no peer_id");
  KR_TRY(peer.peer_id, PeerId::from_json(*id));
  const auto ip = object.find("ip");
  if (ip == object.end() || !ip->is_string() || ip->get_ref<const std::string&>().empty() ||
      ip->get_ref<const std::string&>().size() > 255) {
    return fail(Code::kInvalidArgument, "the peer's ip is missing or no address");
  }
  peer.ip = ip->get<std::string>();
  const auto port = object.find("port");
  if (port == object.end() || !port->is_number_unsigned() || port->get<std::uint64_t>() > 65535) {
    return fail(Code::kInvalidArgument, "the peer's port is missing or not 0 to 65535");
  }
  peer.port = port->get<std::uint16_t>();
  const auto flag = [&](const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_boolean() && found->get<bool>();
  };
  peer.origin = flag("origin");
  peer.complete = flag("complete");
  return peer;
}

}  // namespace kraken
