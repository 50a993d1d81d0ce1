#include "src/tracker/announce.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kraken::tracker {

namespace {

using nlohmann::json;

constexpr std::size_t kHostBytesMax = 253;  // of a DNS name

Result<json> parse_object(std::string_view body) {
  // Depth is bounded by the body's size, which is small; the parser keeps its own stack.
  auto value = json::parse(body, nullptr, false);
  if (value.is_discarded()) return fail(Code::kInvalidArgument, "announce: the body is not JSON");
  if (!value.is_object()) return fail(Code::kInvalidArgument, "announce: the body is not a JSON object");
  return value;
}

Result<PeerInfo> parse_peer(const json& object) {
  const auto peer = object.find("peer");
  if (peer == object.end() || peer->is_null())
    return fail(Code::kInvalidArgument, "announce: \"peer\" is missing; it says who announces");
  auto parsed = PeerInfo::from_json(*peer);
  if (!parsed) return fail(Code::kInvalidArgument, "announce: peer: {}", parsed.error().detail);
  const auto& ip = parsed->ip;
  if (ip.empty() || ip.size() > kHostBytesMax ||
      !std::ranges::all_of(ip, [](unsigned char c) { return c > ' ' && c < 0x7f && c != '"' && c != '\\'; }))
    return fail(Code::kInvalidArgument, "announce: peer.ip must be an address or a host name");
  if (parsed->port == 0) return fail(Code::kInvalidArgument, "announce: peer.port must be 1 to 65535");
  return std::move(*parsed);
}

Result<std::optional<std::string>> text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::optional<std::string>();
  if (!found->is_string()) return fail(Code::kInvalidArgument, "announce: \"{}\" must be a string", key);
  return std::optional<std::string>(found->get<std::string>());
}

void append_id(fmt::memory_buffer& out, const PeerId& id) {
  char separator = '[';
  for (const char byte : id.raw()) {
    out.push_back(separator);
    const auto value = static_cast<std::uint8_t>(byte);
    if (value >= 100) out.push_back(static_cast<char>('0' + value / 100));
    if (value >= 10) out.push_back(static_cast<char>('0' + value / 10 % 10));
    out.push_back(static_cast<char>('0' + value % 10));
    separator = ',';
  }
  out.push_back(']');
}

}  // namespace

Result<Announce> parse_announce(std::string_view body) {
  KR_TRY(const auto object, parse_object(body));
  Announce announce;
  KR_TRY(announce.peer, parse_peer(object));
  KR_TRY(const auto digest, text_of(object, "digest"));
  KR_TRY(const auto name, text_of(object, "name"));
  if (digest) {
    auto parsed = Digest::parse(*digest);
    if (!parsed) return fail(Code::kInvalidArgument, "announce: digest: {}", parsed.error().detail);
    announce.digest = *parsed;
  } else if (name) {
    auto parsed = Digest::from_hex(*name);
    if (!parsed) return fail(Code::kInvalidArgument, "announce: name: {}", parsed.error().detail);
    announce.digest = *parsed;
  } else {
    return fail(Code::kInvalidArgument, "announce: one of \"digest\" and \"name\" must be there");
  }
  const auto infohash = object.find("info_hash");
  if (infohash != object.end() && !infohash->is_null()) {
    auto parsed = InfoHash::from_json(*infohash);
    if (!parsed) return fail(Code::kInvalidArgument, "announce: info_hash: {}", parsed.error().detail);
    announce.infohash = *parsed;
  }
  return announce;
}

Result<DigestAnnounce> parse_digest_announce(std::string_view body) {
  KR_TRY(const auto object, parse_object(body));
  DigestAnnounce announce;
  KR_TRY(announce.peer, parse_peer(object));
  KR_TRY(const auto digest, text_of(object, "digest"));
  if (!digest) return fail(Code::kInvalidArgument, "announce: \"digest\" is missing");
  auto parsed = Digest::parse(*digest);
  if (!parsed) return fail(Code::kInvalidArgument, "announce: digest: {}", parsed.error().detail);
  announce.digest = *parsed;
  KR_TRY(const auto ns, text_of(object, "namespace"));
  if (!ns) return fail(Code::kInvalidArgument, "announce: \"namespace\" is missing");
  KR_TRY(announce.ns, Namespace::parse(*ns));
  return announce;
}

std::string announce_json(const std::vector<PeerInfo>* peers, Duration interval, const std::string* metainfo) {
  fmt::memory_buffer out;
  const auto literal = [&out](std::string_view text) { out.append(text.data(), text.data() + text.size()); };
  literal("{\"peers\":");
  if (peers == nullptr) {
    literal("null");
  } else {
    char separator = '[';
    for (const auto& peer : *peers) {
      out.push_back(separator);
      separator = ',';
      literal("{\"peer_id\":");
      append_id(out, peer.peer_id);
      // An ip was checked when it came in: nothing in it needs an escape.
      fmt::format_to(std::back_inserter(out), FMT_COMPILE(",\"ip\":\"{}\",\"port\":{},\"origin\":{},\"complete\":{}}}"),
                     peer.ip, peer.port, peer.origin, peer.complete);
    }
    if (separator == '[') out.push_back('[');
    out.push_back(']');
  }
  fmt::format_to(std::back_inserter(out), FMT_COMPILE(",\"interval\":{}"), interval.count());
  if (metainfo != nullptr) {
    literal(",\"metainfo\":");
    literal(*metainfo);
  }
  literal("}\n");
  return fmt::to_string(out);
}

}  // namespace kraken::tracker
