#include "src/base/codec.h"

#include <limits>

#include "src/base/assert.h"

namespace kraken {

Writer& Writer::u8(std::uint8_t value) {
  out_.push_back(static_cast<char>(value));
  return *this;
}

Writer& Writer::u16(std::uint16_t value) {
  u8(static_cast<std::uint8_t>(value >> 8));
  return u8(static_cast<std::uint8_t>(value));
}

Writer& Writer::u32(std::uint32_t value) {
  u16(static_cast<std::uint16_t>(value >> 16));
  return u16(static_cast<std::uint16_t>(value));
}

Writer& Writer::u64(std::uint64_t value) {
  u32(static_cast<std::uint32_t>(value >> 32));
  return u32(static_cast<std::uint32_t>(value));
}

Writer& Writer::raw(std::string_view bytes) {
  out_.append(bytes);
  return *this;
}

Writer& Writer::bytes(std::string_view bytes) {
  KR_ASSERT(bytes.size() <= std::numeric_limits<std::uint32_t>::max());
  u32(static_cast<std::uint32_t>(bytes.size()));
  return raw(bytes);
}

std::uint64_t Reader::integer(std::size_t width) {
  const std::string_view field = raw(width);
  std::uint64_t value = 0;
  for (const char c : field) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

std::uint8_t Reader::u8() { return static_cast<std::uint8_t>(integer(1)); }
std::uint16_t Reader::u16() { return static_cast<std::uint16_t>(integer(2)); }
std::uint32_t Reader::u32() { return static_cast<std::uint32_t>(integer(4)); }
std::uint64_t Reader::u64() { return integer(8); }

bool Reader::boolean() {
  const std::uint8_t value = u8();
  if (value > 1) ok_ = false;
  return value == 1;
}

std::string_view Reader::raw(std::size_t size) {
  if (!ok_ || size > in_.size()) {
    ok_ = false;
    return {};
  }
  const std::string_view field = in_.substr(0, size);
  in_.remove_prefix(size);
  return field;
}

std::string_view Reader::bytes() { return raw(u32()); }

std::uint32_t Reader::count(std::size_t item_bytes_min) {
  KR_ASSERT(item_bytes_min > 0);
  const std::uint32_t items = u32();
  if (items > in_.size() / item_bytes_min) {
    ok_ = false;
    return 0;
  }
  return items;
}

std::string_view Reader::rest() { return raw(in_.size()); }

Result<> Reader::finish(std::string_view what) const {
  if (!ok_) return fail(Code::kCorrupt, "{}: malformed or cut short", what);
  if (!in_.empty()) return fail(Code::kCorrupt, "{}: {} bytes left over", what, in_.size());
  return {};
}

}  // namespace kraken
