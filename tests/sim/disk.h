// A node's disk: an ordered log of operations, of which a prefix is durable.
//
// Every operation changes the image at once (that is what the running process reads); it is durable when a sync that started after
// it has completed. A crash keeps the durable prefix and, by chance, some more operations in order: what a write-ahead log
// leaves after power loss. Applied state is written without a sync of its own, as in production.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

#include "consensus/raft/core.h"
#include "tests/sim/random.h"
#include "tests/sim/state_machine.h"

namespace kraken::sim {

/// What a node finds when it starts.
struct Image {
  raft::HardState hs;
  raft::SnapMeta snap;              // the log starts at snap.index + 1
  std::vector<raft::Entry> log;
  State state;

  raft::Index first() const { return snap.index + 1; }
  raft::Index last() const { return snap.index + log.size(); }
  std::optional<raft::Term> term_at(raft::Index i) const {
    if (i == snap.index) return snap.term;
    if (i < snap.index || i > last()) return std::nullopt;
    return log[raft::distance(first(), i)].term;
  }
};

struct DiskOp {
  struct Write {
    raft::Seq seq;
    std::optional<raft::HardState> hs;
    std::optional<raft::Index> truncate_from;
    std::vector<raft::Entry> append;
  };
  struct Apply {
    State state;
  };
  struct Compact {
    raft::SnapMeta base;
  };
  struct Install {
    raft::SnapMeta meta;
    State state;
  };
  std::variant<Write, Apply, Compact, Install> what;
};

class Disk {
 public:
  explicit Disk(const Image& initial) : now_(initial), durable_(initial) {}

  /// Everything written; what the process itself reads.
  const Image& image() const { return now_; }
  /// What certainly survives a crash.
  const Image& durable() const { return durable_; }

  void write(DiskOp op);
  bool dirty() const { return !pending_.empty(); }
  size_t pending() const { return pending_.size(); }

  struct Synced {
    raft::Seq upto = 0;                        // highest Write now durable; 0 if none
    std::vector<raft::SnapMeta> installed;
  };
  /// The first `count` pending operations are durable.
  Synced sync(size_t count);

  /// Power is lost: a random number of pending operations survive, in order.
  void crash(Random& random);

 private:
  static void perform(const DiskOp& op, Image& image);

  Image now_, durable_;
  std::deque<DiskOp> pending_;
};

}  // namespace kraken::sim
