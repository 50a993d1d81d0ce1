#include "consensus/group/handshake.h"

#include "src/base/codec.h"

namespace kraken::group {
namespace {

constexpr std::size_t kTextMax = 1024;

void write(Writer& out, const PeerMemory& self, const std::vector<std::uint32_t>& earlier) {
  out.raw(self.incarnation.view()).u64(self.boot_epoch).u64(self.run).u16(static_cast<std::uint16_t>(earlier.size()));
  for (const std::uint32_t run : earlier) out.u32(run);
}

Incarnation incarnation(Reader& in) {
  const std::string_view bytes = in.raw(16);
  return in.ok() ? Incarnation::from(bytes) : Incarnation{};
}

PeerMemory memory(Reader& in) {
  PeerMemory self;
  self.incarnation = incarnation(in);
  self.boot_epoch = in.u64();
  self.run = in.u64();
  return self;
}

std::vector<std::uint32_t> earlier_runs(Reader& in) {
  std::vector<std::uint32_t> runs;
  const std::uint16_t count = in.u16();
  if (count > kEarlierRunsMax) in.reject();
  for (std::uint16_t i = 0; i < count && in.ok(); ++i) runs.push_back(in.u32());
  return runs;
}

std::string text(Reader& in) {
  const std::string_view bytes = in.bytes();
  if (bytes.size() > kTextMax) in.reject();
  return std::string(bytes.substr(0, kTextMax));
}

std::string shown_ring(Reader& in) {
  const std::string_view bytes = in.bytes();
  if (bytes.size() > kShownRingMax) in.reject();
  return std::string(bytes.substr(0, kShownRingMax));
}

}  // namespace

std::string encode(const Hello& hello) {
  Writer out;
  out.u8(static_cast<std::uint8_t>(hello.purpose)).bytes(hello.token).bytes(hello.from).bytes(hello.to);
  out.u16(hello.shards).u64(hello.members).raw(hello.cluster_id.view());
  write(out, hello.self, hello.earlier);
  out.u64(hello.recovery_epoch);
  out.boolean(hello.replace).bytes(hello.ring);
  return std::move(out).take();
}

Result<Hello> decode_hello(std::string_view payload) {
  Reader in(payload);
  Hello hello;
  const std::uint8_t purpose = in.u8();
  hello.token = text(in);
  hello.from = text(in);
  hello.to = text(in);
  hello.shards = in.u16();
  hello.members = in.u64();
  hello.cluster_id = incarnation(in);
  hello.self = memory(in);
  hello.earlier = earlier_runs(in);
  hello.recovery_epoch = in.u64();
  hello.replace = in.boolean();
  hello.ring = shown_ring(in);
  if (!in.ok() || !in.empty() || purpose < 1 || purpose > 2 || hello.self.incarnation.empty())
    return fail(Code::kProtocol, "hello: malformed");
  hello.purpose = static_cast<Hello::Purpose>(purpose);
  return hello;
}

std::string encode(const Welcome& welcome) {
  Writer out;
  out.boolean(welcome.accepted).bytes(std::string_view(welcome.reason).substr(0, kTextMax)).bytes(welcome.label);
  out.raw(welcome.cluster_id.view());
  write(out, welcome.self, welcome.earlier);
  out.u64(welcome.recovery_epoch).bytes(welcome.ring);
  return std::move(out).take();
}

Result<Welcome> decode_welcome(std::string_view payload) {
  Reader in(payload);
  Welcome welcome;
  welcome.accepted = in.boolean();
  welcome.reason = text(in);
  welcome.label = text(in);
  welcome.cluster_id = incarnation(in);
  welcome.self = memory(in);
  welcome.earlier = earlier_runs(in);
  welcome.recovery_epoch = in.u64();
  welcome.ring = shown_ring(in);
  if (!in.ok() || !in.empty()) return fail(Code::kProtocol, "welcome: malformed");
  return welcome;
}

}  // namespace kraken::group
