#pragma once
// Which pieces somebody has, and stock's coding of it: 64-bit big-endian bit length, then 64-bit big-endian words, piece i
// in bit i mod 64 (least significant first) of word i / 64 (facts §2.3). Threads: plain values.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"

namespace kraken {

class Bitfield {
 public:
  Bitfield() = default;
  explicit Bitfield(std::uint32_t bits, bool value = false);

  std::uint32_t size() const { return bits_; }
  std::uint32_t count() const { return count_; }
  bool all() const { return count_ == bits_; }
  /// REQUIRES for both: index < size().
  bool test(std::uint32_t index) const { return (words_[index / 64] >> (index % 64) & 1) != 0; }
  void set(std::uint32_t index, bool value = true);
  void set_all();
  /// 64 pieces at a time, for scans; bits beyond size() are 0. REQUIRES: word < word_count().
  std::uint64_t word(std::size_t word) const { return words_[word]; }
  std::size_t word_count() const { return words_.size(); }

  std::string encode() const;
  /// The length must be exactly `bits` and no bit beyond it may be set; anything else is kProtocol.
  static Result<Bitfield> decode(std::string_view bytes, std::uint32_t bits);

  friend bool operator==(const Bitfield&, const Bitfield&) = default;

 private:
  std::vector<std::uint64_t> words_;
  std::uint32_t bits_ = 0;
  std::uint32_t count_ = 0;
};

}  // namespace kraken
