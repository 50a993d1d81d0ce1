#include "consensus/group/envelope.h"

#include <cstring>

#include "src/base/assert.h"
#include "src/base/codec.h"
#include "src/base/hex.h"
#include "src/base/rng.h"

namespace kraken::group {
namespace {

constexpr std::uint8_t kVersion = 1;

}  // namespace

std::string Incarnation::hex() const { return to_hex(bytes); }

Incarnation Incarnation::random() {
  Incarnation made;
  do {
    random_bytes(std::as_writable_bytes(std::span(made.bytes)));
  } while (made.empty());
  return made;
}

Incarnation Incarnation::from(std::string_view raw) {
  KR_ASSERT(raw.size() == 16);
  Incarnation made;
  std::memcpy(made.bytes.data(), raw.data(), raw.size());
  return made;
}

std::string encode(const Envelope& envelope) {
  Writer out;
  out.u8(kVersion).u8(static_cast<std::uint8_t>(envelope.kind));
  out.u64(static_cast<std::uint64_t>(envelope.advance.count()));
  out.raw(envelope.stamp.incarnation.view()).u64(envelope.stamp.boot_epoch).u64(envelope.stamp.session);
  out.u64(envelope.stamp.sequence).u64(envelope.stamp.low).raw(envelope.command);
  return std::move(out).take();
}

Result<Envelope> decode_envelope(std::string_view bytes) {
  Reader in(bytes);
  Envelope envelope;
  const std::uint8_t version = in.u8();
  if (in.ok() && version != kVersion) return fail(Code::kUnsupported, "log entry: version {}, known is {}", version, kVersion);
  const std::uint8_t kind = in.u8();
  const std::uint64_t advance = in.u64();
  const std::string_view incarnation = in.raw(16);
  envelope.stamp.boot_epoch = in.u64();
  envelope.stamp.session = in.u64();
  envelope.stamp.sequence = in.u64();
  envelope.stamp.low = in.u64();
  envelope.command = in.rest();
  KR_CHECK(in.finish("log entry"));
  if (kind != 1 && kind != 2) return fail(Code::kUnsupported, "log entry: kind {}", kind);
  if (advance > static_cast<std::uint64_t>(Duration::max().count())) return fail(Code::kCorrupt, "log entry: time goes back");
  envelope.kind = static_cast<Envelope::Kind>(kind);
  envelope.advance = Duration(static_cast<Duration::rep>(advance));
  envelope.stamp.incarnation = Incarnation::from(incarnation);
  return envelope;
}

}  // namespace kraken::group
