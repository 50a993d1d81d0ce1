#include "tests/sim/disk.h"

#include "tests/sim/invariants.h"

namespace kraken::sim {

void Disk::perform(const DiskOp& op, Image& image) {
  struct Visitor {
    Image& im;
    void operator()(const DiskOp::Write& w) const {
      if (w.hs) im.hs = *w.hs;
      if (w.truncate_from) {
        require(*w.truncate_from > im.snap.index, "disk", "truncation below the start of the log");
        if (*w.truncate_from <= im.last()) im.log.resize(raft::distance(im.first(), *w.truncate_from));
      }
      for (const raft::Entry& e : w.append) {
        if (e.index <= im.snap.index) continue;  // a snapshot overtook it
        require(e.index == im.last() + 1, "disk", "gap or overlap in the log");
        im.log.push_back(e);
      }
    }
    void operator()(const DiskOp::Apply& a) const {
      if (a.state.applied > im.state.applied) im.state = a.state;
    }
    void operator()(const DiskOp::Compact& c) const {
      if (c.base.index <= im.snap.index) return;
      im.log.erase(im.log.begin(), im.log.begin() + static_cast<std::ptrdiff_t>(raft::distance(im.snap.index, c.base.index)));
      im.snap = c.base;
    }
    void operator()(const DiskOp::Install& i) const {
      im.snap = i.meta;
      im.log.clear();
      im.state = i.state;
    }
  };
  std::visit(Visitor{image}, op.what);
}

void Disk::write(DiskOp op) {
  perform(op, now_);
  pending_.push_back(std::move(op));
}

Disk::Synced Disk::sync(size_t count) {
  Synced result;
  for (; count > 0 && !pending_.empty(); count--) {
    const DiskOp& op = pending_.front();
    perform(op, durable_);
    if (const auto* w = std::get_if<DiskOp::Write>(&op.what)) result.upto = w->seq;
    if (const auto* i = std::get_if<DiskOp::Install>(&op.what)) result.installed.push_back(i->meta);
    pending_.pop_front();
  }
  return result;
}

void Disk::crash(Random& random) {
  const size_t kept = random.chance(0.5) ? 0 : random.below(pending_.size() + 1);
  sync(kept);
  pending_.clear();
  now_ = durable_;
}

}  // namespace kraken::sim
