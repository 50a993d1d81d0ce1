#pragma once
// Writing and reading of our binary formats: fixed-width integers big-endian (so that the order of keys is the order of
// values), byte strings with a 32-bit length in front. A Reader never reads past its input: after the first bad field
// every further read gives zero or empty, and `finish` tells. Counts must be checked with `count` before anything is
// reserved. Threads: plain values. The view in a Reader must outlive what it returns.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "src/base/error.h"

namespace kraken {

class Writer {
 public:
  Writer& u8(std::uint8_t value);
  Writer& u16(std::uint16_t value);
  Writer& u32(std::uint32_t value);
  Writer& u64(std::uint64_t value);
  Writer& i64(std::int64_t value) { return u64(static_cast<std::uint64_t>(value)); }
  Writer& boolean(bool value) { return u8(value ? 1 : 0); }
  /// Exactly these bytes, no length.
  Writer& raw(std::string_view bytes);
  /// A 32-bit length, then the bytes.
  Writer& bytes(std::string_view bytes);
  const std::string& str() const { return out_; }
  /// What was written; the writer is empty afterwards.
  std::string take() { return std::exchange(out_, {}); }
  std::size_t size() const { return out_.size(); }

 private:
  template <class Integer>
  Writer& integer(Integer value);
  std::string out_;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  std::uint8_t u8();
  std::uint16_t u16();
  std::uint32_t u32();
  std::uint64_t u64();
  std::int64_t i64() { return static_cast<std::int64_t>(u64()); }
  bool boolean();
  std::string_view raw(std::size_t size);
  std::string_view bytes();
  /// A 32-bit count of items that need at least `item_bytes_min` (> 0) each; fails where they cannot fit in what is left.
  std::uint32_t count(std::size_t item_bytes_min);
  std::string_view rest();
  void reject() { ok_ = false; }
  bool ok() const { return ok_; }
  bool empty() const { return in_.empty(); }
  /// kCorrupt unless every read was good and nothing is left over. `what` names the format.
  Result<> finish(std::string_view what) const;

 private:
  template <class Integer>
  Integer integer();
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace kraken
