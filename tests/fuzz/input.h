// Values out of a fuzzer's bytes. When the bytes end, everything is zero: any input is a whole one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/raft/core.h"

namespace kraken::fuzz {

/// Ends the process, which the fuzzer reports with the input.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : in_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return in_.empty(); }
  std::uint8_t byte() {
    if (in_.empty()) return 0;
    const auto b = static_cast<std::uint8_t>(in_[0]);
    in_.remove_prefix(1);
    return b;
  }
  bool flag() { return (byte() & 1) != 0; }
  std::uint64_t below(std::uint64_t n) { return n <= 256 ? byte() % n : (byte() * std::uint64_t{256} + byte()) % n; }
  std::uint64_t u64() {
    std::uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | byte();
    return v;
  }
  /// Mostly small, sometimes any, often near the ends.
  std::uint64_t number() {
    const std::uint8_t b = byte();
    if (b < 0xf0) return b % 16;
    if (b < 0xf8) return u64();
    if (b < 0xfc) return ~std::uint64_t{0} - (b & 3);
    return (std::uint64_t{1} << 62) - (b & 3);
  }
  std::string_view bytes(std::size_t n) {
    const std::string_view out = in_.substr(0, n);
    in_.remove_prefix(out.size());
    return out;
  }
  /// Behind a length of one byte.
  std::string text() { return std::string(bytes(byte())); }
  std::string_view rest() { return bytes(in_.size()); }

  raft::ConfState conf() {
    raft::ConfState c;
    for (auto* list : {&c.voters, &c.outgoing, &c.learners, &c.learners_next})
      for (std::uint64_t i = 0, n = below(5); i < n; i++) list->push_back(raft::ReplicaId{below(6)});
    c.placement_epoch = number();
    return c;
  }
  raft::Entry entry(raft::Index index) {
    raft::Entry e{raft::Term{number()}, index, static_cast<raft::Kind>(below(3)), nullptr};
    if (e.kind == raft::Kind::kConfig && flag())
      e.data = raft::encode_conf(conf());
    else if (flag())
      e.data = std::make_shared<const std::string>(text());
    return e;
  }

 private:
  std::string_view in_;
};

}  // namespace kraken::fuzz
