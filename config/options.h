#pragma once
// The table of every option: what it is called, what it may be, what it means and when to change it. The loader, the
// printed configuration, the reference page and the JSON schemas are made from it and from nothing else; a default is
// the struct's initialiser, read through `get`. Threads: constant after first use.

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/tree.h"

namespace kraken::config {

enum class Kind {
  kBoolean,
  kInteger,
  kPort,
  kDuration,
  kBytes,
  kBits,
  kText,
  kPath,
  kSecret,
  kChoice,
  kList,
  kHashstate,
  kPieceLengths,
};

/// "size", "time", ... as the reference page says it.
std::string_view kind_name(Kind kind);

template <class C>
struct Option {
  std::string path;  // "raft.election_min"
  Kind kind = Kind::kText;
  std::uint64_t least = 0;  // numbers only; both ends included; nanoseconds, bytes, bits
  std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  std::vector<std::string> choices;
  std::string meaning;
  std::string when;  // when to change it; empty where that is plain
  /// Takes the YAML value; the error says what is wrong with it, not where.
  std::function<Result<>(C&, const Tree&)> set;
  std::function<Tree(const C&)> get;

  /// "1 to 4096", "murmur3, sha256 or md5"; empty where anything of the kind goes.
  std::string range() const;
};

const std::vector<Option<NodeConfig>>& node_options();
const std::vector<Option<AgentConfig>>& agent_options();

/// A key of stock Kraken's files. Ignored: it means nothing here and is warned about. Otherwise it asks for something
/// this version does not do, and starting without it would surprise: an error.
struct ForeignKey {
  std::string_view pattern;  // a path, whose first component may be * for any section
  bool ignored;
  std::string_view reason;
};
const std::vector<ForeignKey>& foreign_keys();

}  // namespace kraken::config
