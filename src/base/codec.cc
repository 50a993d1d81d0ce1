#include "src/base/codec.h"

#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "src/base/assert.h"

namespace kraken {
namespace {

template <class Integer>
Integer big_endian(Integer value) {
  return std::endian::native == std::endian::big ? value : std::byteswap(value);
}

}  // namespace

template <class Integer>
Writer& Writer::integer(Integer value) {
  value = big_endian(value);
  std::array<char, sizeof value> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  out_.append(bytes.data(), bytes.size());
  return *this;
}

template <class Integer>
Integer Reader::integer() {
  if (!ok_ || in_.size() < sizeof(Integer)) {
    ok_ = false;
    return 0;
  }
  Integer value;
  std::memcpy(&value, in_.data(), sizeof value);
  in_.remove_prefix(sizeof value);
  return big_endian(value);
}

Writer& Writer::u8(std::uint8_t value) { return integer(value); }
Writer& Writer::u16(std::uint16_t value) { return integer(value); }
Writer& Writer::u32(std::uint32_t value) { return integer(value); }
Writer& Writer::u64(std::uint64_t value) { return integer(value); }

Writer& Writer::raw(std::string_view bytes) {
  out_.append(bytes);
  return *this;
}

Writer& Writer::bytes(std::string_view bytes) {
  KR_ASSERT(bytes.size() <= std::numeric_limits<std::uint32_t>::max());
  u32(static_cast<std::uint32_t>(bytes.size()));
  return raw(bytes);
}

std::uint8_t Reader::u8() { return integer<std::uint8_t>(); }
std::uint16_t Reader::u16() { return integer<std::uint16_t>(); }
std::uint32_t Reader::u32() { return integer<std::uint32_t>(); }
std::uint64_t Reader::u64() { return integer<std::uint64_t>(); }

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
