#include "src/core/bitfield.h"

#include <bit>

#include "src/base/assert.h"
#include "src/base/codec.h"

namespace kraken {

Bitfield::Bitfield(std::uint32_t bits, bool value) : words_((bits + 63) / 64), bits_(bits) {
  if (value) set_all();
}

void Bitfield::set(std::uint32_t index, bool value) {
  KR_ASSERT(index < bits_);
  const std::uint64_t bit = std::uint64_t{1} << (index % 64);
  std::uint64_t& word = words_[index / 64];
  if (((word & bit) != 0) == value) return;
  word ^= bit;
  count_ += value ? 1 : -1U;
}

void Bitfield::set_all() {
  for (auto& word : words_) word = ~std::uint64_t{0};
  if (bits_ % 64 != 0) words_.back() = (std::uint64_t{1} << (bits_ % 64)) - 1;
  count_ = bits_;
}

std::string Bitfield::encode() const {
  Writer writer;
  writer.u64(bits_);
  for (const std::uint64_t word : words_) writer.u64(word);
  return writer.take();
}

Result<Bitfield> Bitfield::decode(std::string_view bytes, std::uint32_t bits) {
  Reader reader(bytes);
  const std::uint64_t length = reader.u64();
  if (!reader.ok() || length != bits) return fail(Code::kProtocol, "bitfield of {} bits where the torrent has {} pieces", length, bits);
  Bitfield made(bits);
  for (auto& word : made.words_) {
    word = reader.u64();
    made.count_ += static_cast<std::uint32_t>(std::popcount(word));
  }
  if (!reader.ok() || !reader.empty()) return fail(Code::kProtocol, "bitfield of {} bits in {} bytes", bits, bytes.size());
  if (bits % 64 != 0 && made.words_.back() >> (bits % 64) != 0) return fail(Code::kProtocol, "bitfield with bits beyond its {} pieces", bits);
  return made;
}

}  // namespace kraken
