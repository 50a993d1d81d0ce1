// Random schedules over the state machine: clients push, delete and re-tag, holders copy and let go, the sweeper and
// the collector run, stores crash and one disk is lost, commands are applied late, also after their sender died, and
// some are lost. The invariants are checked after every step (lifecycle §8.2), and at the end that everything settles
// (§8.3). With one rule switched off some seed must break an invariant (§8.5).
//
// KRAKEN_SEED=n runs that seed alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>

#include "src/base/rng.h"
#include "src/metadata/state/sweep.h"
#include "tests/unit/src/metadata/state/world.h"

namespace kraken::metadata::state::test {
namespace {

constexpr int kStores = 3;
constexpr int kBlobs = 3;  // 0 is a manifest that needs 2, 1 is an index that needs 0 and 2

/// Rules that the actors keep, not apply.
struct Manners {
  bool scrub_waits_under_arriving = true;
  bool unnamed_goes_through_leave = true;
  bool lock_from_read_to_unlink = true;
  bool verify_waits_for_the_limit = true;
  bool commit_after_two_copies = true;
  bool refs_before_put = true;
  bool manifest_has_its_own_ref = true;
};

std::vector<Digest> references(const Digest& manifest) {
  if (manifest == digest(0)) return {digest(2)};
  return {digest(0), digest(2)};
}

class Sim;

/// One client's or holder's procedure, a step at a time. Commands it sends are applied later, or never.
class Actor : public std::enable_shared_from_this<Actor> {
 public:
  virtual ~Actor() = default;
  /// Called while nothing is outstanding.
  virtual void step(Sim& sim) = 0;
  virtual void heard(Sim&, const Outcome&) {}
  /// The store it runs on, and whose crash it does not survive.
  virtual int at() const { return 0; }
  int outstanding = 0;
  bool done = false;
};

struct InFlight {
  Command command;
  std::weak_ptr<Actor> sender;
  int not_before = 0;  // step
};

class Sim {
 public:
  Sim(std::uint64_t seed, const Rules& rules, const Manners& given) : rng(seed), manners(given), world(rules) {}

  /// What was broken first, with the step; empty if nothing was.
  std::string run(int steps);

  void send(Actor& actor, Command command) {
    ++actor.outstanding;
    const int late = rng.chance(0.2) ? static_cast<int>(rng.below(80)) : 0;
    in_flight.push_back({std::move(command), actor.weak_from_this(), step + late});
  }
  bool lock(int at, const Digest& of) { return locks.insert({at, of}).second; }
  void unlock(int at, const Digest& of) { locks.erase({at, of}); }
  bool locked(int at, const Digest& of) const { return locks.contains({at, of}); }
  bool alive(int at) const { return !world.retired.contains(at); }
  Digest some_blob() { return digest(static_cast<int>(rng.below(kBlobs))); }
  int some_store() { return 1 + static_cast<int>(rng.below(kStores)); }
  std::vector<StoreId> owner_ids() const { return {store(owners.first), store(owners.second)}; }

  Rng rng;
  Manners manners;
  World world;
  std::pair<int, int> owners{1, 2};
  std::vector<InFlight> in_flight;
  std::vector<std::shared_ptr<Actor>> actors;
  std::set<std::pair<int, Digest>> locks;
  int step = 0;

 private:
  void chaos();
  void spawn();
  void deliver(std::size_t i);
  void crash(int at);
  void change_ring();
  void lose_a_disk();
  void settle();
  void settle_blob(const Digest& of);
  std::string unsettled() const;
  std::string fresh_push_fails() const;
};

class BlobPush final : public Actor {
 public:
  BlobPush(Digest of) : of_(of) {}
  void step(Sim& sim) override {
    switch (phase_) {
      case Phase::kArrive:
        if (++tries_ > 3) {
          done = true;
          return;
        }
        push_ = sim.world.push();
        placed_.clear();
        sim.send(*this, Arrive{of_, push_});
        return;
      case Phase::kAsk: {
        int have = 0;
        for (int i = 1; i <= kStores; ++i)
          have += row_.holder(store(i)) != nullptr && sim.world.has_file(i, of_) ? 1 : 0;
        if (row_.state == BlobState::kLive && have >= 2) {
          sim.world.promise(of_, arrived_ + kMarkTime);
          done = true;
        }
        phase_ = Phase::kPlace;
        return;
      }
      case Phase::kPlace: {
        const int at = sim.some_store();
        if (!sim.alive(at) || sim.locked(at, of_) || std::ranges::count(placed_, at) > 0) return;
        sim.world.place(at, of_);
        placed_.push_back(at);
        if (placed_.size() >= (sim.manners.commit_after_two_copies ? 2u : 1u)) phase_ = Phase::kCommit;
        return;
      }
      case Phase::kCommit: {
        std::vector<Holder> holders;
        for (const int i : placed_) holders.push_back(holder(i));
        sim.send(*this, Commit{of_, push_, row_.generation, holders, metainfo(of_), 2, {}, kMarkTime});
        return;
      }
    }
  }
  void heard(Sim& sim, const Outcome& outcome) override {
    if (phase_ == Phase::kArrive) {
      row_ = *outcome.blob;
      arrived_ = outcome.now;
      phase_ = Phase::kAsk;
    } else if (outcome.done()) {
      sim.world.promise(of_, outcome.now + kMarkTime);
      done = true;
    } else {
      phase_ = Phase::kArrive;
    }
  }

 private:
  enum class Phase { kArrive, kAsk, kPlace, kCommit };
  Digest of_;
  Phase phase_ = Phase::kArrive;
  int tries_ = 0;
  PushId push_;
  BlobRow row_;
  Duration arrived_{};
  std::vector<int> placed_;
};

class ManifestPush final : public Actor {
 public:
  ManifestPush(Digest manifest, TagName tag) : manifest_(manifest), tag_(std::move(tag)) {}
  void step(Sim& sim) override {
    if (!referenced_) {
      push_ = sim.world.push();
      referenced_ = true;
      std::vector<Digest> needs = references(manifest_);
      if (sim.manners.manifest_has_its_own_ref) needs.push_back(manifest_);
      for (const Digest& of : needs) sim.send(*this, AddRef{of, {repository(), manifest_, push_}});
      if (!sim.manners.refs_before_put)
        sim.send(*this, sim.world.put_command(manifest_, references(manifest_), push_, {tag_}));
    } else if (refused_ || put_) {
      done = true;
    } else {
      put_ = true;
      sim.send(*this, sim.world.put_command(manifest_, references(manifest_), push_, {tag_}));
    }
  }
  void heard(Sim&, const Outcome& outcome) override {
    if (!put_ && !outcome.done()) refused_ = true;
    if (put_ && outcome.refusal == Refusal::kPushTooOld && ++tries_ < 3) referenced_ = put_ = refused_ = false;
  }

 private:
  Digest manifest_;
  TagName tag_;
  PushId push_;
  bool referenced_ = false;
  bool refused_ = false;
  bool put_ = false;
  int tries_ = 0;
};

/// Sends one command and is content.
class Once final : public Actor {
 public:
  explicit Once(Command command) : command_(std::move(command)) {}
  void step(Sim& sim) override {
    if (std::exchange(sent_, true))
      done = true;
    else
      sim.send(*this, command_);
  }

 private:
  Command command_;
  bool sent_ = false;
};

class Head final : public Actor {
 public:
  explicit Head(Digest of) : of_(of) {}
  void step(Sim& sim) override {
    const auto row = sim.world.blob(of_);
    if (row && row->state == BlobState::kCondemned && !std::exchange(renewed_, true))
      return sim.send(*this, Renew{of_});
    if (row && row->state == BlobState::kLive) sim.world.promise(of_, sim.world.now + kGrace);
    done = true;
  }
  void heard(Sim& sim, const Outcome& outcome) override {
    if (outcome.done()) sim.world.promise(of_, outcome.now + kGrace);
    done = true;
  }

 private:
  Digest of_;
  bool renewed_ = false;
};

/// Expires what is due, condemns, deletes: each if apply lets it.
class Collector final : public Actor {
 public:
  explicit Collector(Digest of) : of_(of) {}
  void step(Sim& sim) override {
    switch (phase_++) {
      case 0:
        for (const NamedMark& mark : sim.world.ask(GetBlob{of_, false}).marks) {
          if (mark.row.deadline <= sim.world.now) sim.send(*this, Expire{of_, mark.push});
        }
        return;
      case 1:
        return sim.send(*this, Condemn{of_});
      case 2:
        return sim.send(*this, Delete{of_});
      default:
        done = true;
    }
  }

 private:
  Digest of_;
  int phase_ = 0;
};

/// A verify task, or a task that removes references.
class Sweeper final : public Actor {
 public:
  explicit Sweeper(Task task) : task_(std::move(task)) {}
  void step(Sim& sim) override {
    const TaskRow& row = task_.row;
    const RefName ref{row.repository, row.manifest, row.push};
    if (!decided_) {
      decided_ = true;
      if (row.kind == TaskKind::kRemoveRefs) {
        for (const Digest& of : row.digests) sim.send(*this, RemoveRef{of, ref});
        return;
      }
      const auto answer = sim.world.ask(GetManifest{row.repository, row.manifest});
      Sweep decision = sweep(row.push, answer.row, answer.now);
      if (decision == Sweep::kLater && !sim.manners.verify_waits_for_the_limit) decision = Sweep::kRemove;
      if (decision == Sweep::kKeep) sim.send(*this, Verified{row.digest, ref});
      if (decision == Sweep::kRemove) sim.send(*this, RemoveRef{row.digest, ref});
      return;
    }
    if (row.kind == TaskKind::kRemoveRefs && !std::exchange(finished_, true))
      return sim.send(*this, FinishTask{task_.key, row.revision});
    done = true;
  }

 private:
  Task task_;
  bool decided_ = false;
  bool finished_ = false;
};

/// An owner that lacks the blob takes a copy.
class Copy final : public Actor {
 public:
  Copy(int where, Digest of) : at_(where), of_(of) {}
  int at() const override { return at_; }
  void step(Sim& sim) override {
    if (std::exchange(sent_, true) || !sim.lock(at_, of_)) {
      done = true;
      return;
    }
    const auto row = sim.world.blob(of_);
    if (!row || !row->readable() || row->holder(store(at_)) != nullptr) {
      sim.unlock(at_, of_);
      done = true;
      return;
    }
    sim.world.place(at_, of_);
    sim.send(*this, Enter{of_, holder(at_), row->generation});
  }
  void heard(Sim& sim, const Outcome&) override {
    sim.unlock(at_, of_);
    done = true;
  }

 private:
  int at_;
  Digest of_;
  bool sent_ = false;
};

/// The scrub and the surplus holder: an orphan goes, an unnamed or surplus file goes by Leave.
class LetGo final : public Actor {
 public:
  LetGo(int where, Digest of) : at_(where), of_(of) {}
  int at() const override { return at_; }
  void step(Sim& sim) override {
    if (unlink_) {
      // Who has let go of the lock may be slow.
      if (!sim.manners.lock_from_read_to_unlink && !sim.rng.chance(0.1)) return;
      sim.world.unlink(at_, of_);
      return finish(sim);
    }
    if (!sim.world.has_file(at_, of_) || !sim.lock(at_, of_)) {
      done = true;
      return;
    }
    const auto row = sim.world.blob(of_);
    const bool named = row && row->holder(store(at_)) != nullptr;
    if (!row || (row->state == BlobState::kArriving && !sim.manners.scrub_waits_under_arriving)) {
      unlink_ = true;
    } else if (row->state == BlobState::kArriving) {
      return finish(sim);
    } else if (!named && !sim.manners.unnamed_goes_through_leave) {
      unlink_ = true;
    } else if (!named || (at_ != sim.owners.first && at_ != sim.owners.second)) {
      return sim.send(*this, Leave{of_, store(at_), row->generation, sim.owner_ids()});
    } else {
      return finish(sim);
    }
    if (!sim.manners.lock_from_read_to_unlink) sim.unlock(at_, of_);
  }
  void heard(Sim& sim, const Outcome& outcome) override {
    if (outcome.done())
      unlink_ = true;
    else
      finish(sim);
  }

 private:
  void finish(Sim& sim) {
    sim.unlock(at_, of_);
    done = true;
  }
  int at_;
  Digest of_;
  bool unlink_ = false;
};

void Sim::spawn() {
  const Digest of = some_blob();
  const Digest manifest = digest(static_cast<int>(rng.below(2)));
  const TagName name = tag(rng.chance(0.5) ? "v1" : "v2");
  const int at = some_store();
  std::vector<Task> tasks;
  std::shared_ptr<Actor> actor;
  switch (rng.below(14)) {
    case 0:
    case 1:
    case 2:
      actor = std::make_shared<BlobPush>(of);
      break;
    case 3:
    case 4:
      actor = std::make_shared<ManifestPush>(manifest, name);
      break;
    case 5:
      actor = std::make_shared<Once>(Retag{repository(), {name}, manifest, {}, {}, false});
      break;
    case 6:
      actor = std::make_shared<Once>(DeleteManifest{repository(), manifest, rng.chance(0.3), rng.chance(0.2)});
      break;
    case 7:
      actor = std::make_shared<Head>(of);
      break;
    case 8:
    case 9:
      actor = std::make_shared<Collector>(of);
      break;
    case 10:
    case 11:
      tasks = world.ask(ListTasks{manners.verify_waits_for_the_limit, {}, {}, 100}).tasks;
      if (!tasks.empty()) {
        const Task& task = tasks[rng.below(tasks.size())];
        if (task.row.kind != TaskKind::kCopy) actor = std::make_shared<Sweeper>(task);
      }
      break;
    case 12:
      if (alive(at)) actor = std::make_shared<Copy>(at, of);
      break;
    default:
      if (alive(at)) actor = std::make_shared<LetGo>(at, of);
      break;
  }
  if (actor) actors.push_back(std::move(actor));
}

void Sim::deliver(std::size_t i) {
  const InFlight flight = in_flight[i];
  in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(i));
  const Outcome outcome = world.apply(flight.command);
  if (const auto sender = flight.sender.lock()) {
    --sender->outstanding;
    if (!sender->done) sender->heard(*this, outcome);
  }
}

// And a start again: the scrub looks at every file.
void Sim::crash(int at) {
  std::erase_if(actors, [&](const auto& actor) { return actor->at() == at; });
  std::erase_if(locks, [&](const auto& lock) { return lock.first == at; });
  for (int i = 0; i < kBlobs; ++i) {
    if (world.has_file(at, digest(i))) actors.push_back(std::make_shared<LetGo>(at, digest(i)));
  }
}

void Sim::change_ring() {
  std::vector<int> there;
  for (int i = 1; i <= kStores; ++i) {
    if (alive(i)) there.push_back(i);
  }
  if (there.size() == kStores) there.erase(there.begin() + static_cast<std::ptrdiff_t>(rng.below(there.size())));
  owners = {there[0], there[1]};
}

void Sim::lose_a_disk() {
  if (!world.retired.empty()) return;
  const int at = some_store();
  world.retired.insert(at);
  for (int i = 0; i < kBlobs; ++i) world.unlink(at, digest(i));
  crash(at);
  change_ring();
}

void Sim::chaos() {
  std::erase_if(actors, [](const auto& actor) { return actor->done && actor->outstanding == 0; });
  const std::uint64_t dice = rng.below(100);
  if (dice < 35 && !in_flight.empty()) {
    const std::size_t i = rng.below(in_flight.size());
    if (in_flight[i].not_before <= step) deliver(i);
  } else if (dice < 72 && !actors.empty()) {
    const auto actor = actors[rng.below(actors.size())];
    if (actor->outstanding == 0 && !actor->done) actor->step(*this);
  } else if (dice < 88) {
    if (actors.size() < 8) spawn();
  } else if (dice < 90) {
    if (!actors.empty()) {
      const std::size_t i = rng.below(actors.size());
      if (actors[i]->at() == 0) actors.erase(actors.begin() + static_cast<std::ptrdiff_t>(i));
    }
  } else if (dice < 92) {
    crash(some_store());
  } else if (dice == 92) {
    if (!in_flight.empty())
      in_flight.erase(in_flight.begin() + static_cast<std::ptrdiff_t>(rng.below(in_flight.size())));
  } else if (dice == 93) {
    change_ring();
  } else if (dice == 94 && rng.chance(0.05)) {
    lose_a_disk();
  } else if (dice > 94) {
    static constexpr std::array<Duration, 5> kSteps{1s, 10min, 30min, 12h, 24h};
    world.now += kSteps[rng.below(kSteps.size())];
  }
}

// Everything comes to rest for one blob: the collector, the owners, the scrub.
void Sim::settle_blob(const Digest& of) {
  for (const NamedMark& mark : world.ask(GetBlob{of, false}).marks) world.apply(Expire{of, mark.push});
  world.apply(Condemn{of});
  world.apply(Delete{of});
  for (const int at : world.retired) world.apply(Lost{of, store(at), 2});
  for (const int at : {owners.first, owners.second}) {
    const auto row = world.blob(of);
    if (!row || !row->readable() || row->holder(store(at)) != nullptr) continue;
    world.place(at, of);
    world.apply(Enter{of, holder(at), row->generation});
  }
  for (int at = 1; at <= kStores; ++at) {
    const auto row = world.blob(of);
    const bool named = row && row->holder(store(at)) != nullptr;
    if (!world.has_file(at, of)) continue;
    if (!row) {
      world.unlink(at, of);
    } else if (row->readable() && (!named || (at != owners.first && at != owners.second))) {
      if (world.apply(Leave{of, store(at), row->generation, owner_ids()}).done()) world.unlink(at, of);
    }
  }
}

void Sim::settle() {
  actors.clear();
  locks.clear();
  while (!in_flight.empty()) deliver(in_flight.size() - 1);
  for (int round = 0; round < 6; ++round) {
    world.now += kGrace + 1h;
    for (const Task& task : world.tasks()) {
      const TaskRow& row = task.row;
      const RefName ref{row.repository, row.manifest, row.push};
      if (row.kind == TaskKind::kRemoveRefs) {
        for (const Digest& of : row.digests) world.apply(RemoveRef{of, ref});
      } else if (row.kind == TaskKind::kVerifyRef) {
        const auto answer = world.ask(GetManifest{row.repository, row.manifest});
        const bool keep = sweep(row.push, answer.row, answer.now) == Sweep::kKeep;
        world.apply(keep ? Command(Verified{row.digest, ref}) : Command(RemoveRef{row.digest, ref}));
        continue;
      }
      world.apply(FinishTask{task.key, row.revision});
    }
    for (int i = 0; i < kBlobs; ++i) settle_blob(digest(i));
  }
}

// L1: what nobody needs is gone.
std::string Sim::unsettled() const {
  if (!world.tasks().empty()) return "L1: a task stays: " + std::string(name(world.tasks()[0].row.kind));
  for (const auto& [key, value] : world.rows.rows(kv::Family::kRef)) {
    const auto parts = keys::parse_ref(key).value();
    const auto manifest = world.ask(GetManifest{parts.name.repository, parts.name.manifest}).row;
    if (!manifest || manifest->push != parts.name.push) return "L1: a reference stays without its manifest";
  }
  for (int i = 0; i < kBlobs; ++i) {
    const auto answer = world.ask(GetBlob{digest(i), false});
    if (answer.row && (!answer.referenced || !answer.marks.empty() || answer.row->state != BlobState::kLive))
      return fmt::format("L1: blob {} stays though nothing needs it", i);
    for (int at = 1; at <= kStores; ++at) {
      const bool owner = at == owners.first || at == owners.second;
      const bool named = answer.row && answer.row->holder(store(at)) != nullptr;
      if (world.has_file(at, digest(i)) != named) return fmt::format("L1: file of blob {} on store {}, or none", i, at);
      if (answer.row && named != owner) return fmt::format("L1: blob {} is not where the ring says", i);
    }
  }
  return {};
}

// L2: from here a push alone succeeds.
std::string Sim::fresh_push_fails() const {
  for (int i = 0; i < kBlobs; ++i) {
    World copy = world;
    const PushId push = copy.push();
    const Outcome arrived = copy.apply(Arrive{digest(i), push});
    copy.place(owners.first, digest(i));
    copy.place(owners.second, digest(i));
    const std::vector<Holder> holders{holder(owners.first), holder(owners.second)};
    if (!copy.apply(Commit{digest(i), push, arrived.blob->generation, holders, metainfo(digest(i)), 2, {}, kMarkTime})
             .done())
      return fmt::format("L2: a fresh push of blob {} is refused", i);
  }
  return {};
}

std::string Sim::run(int steps) {
  std::uint64_t checked = 0;
  for (step = 0; step < steps; ++step) {
    chaos();
    if (std::exchange(checked, world.changes) == world.changes) continue;
    if (std::string broken = world.broken(); !broken.empty()) return fmt::format("step {}: {}", step, broken);
    std::erase_if(world.promises, [this](const auto& promise) { return promise.second <= world.now; });
  }
  if (std::string broken = fresh_push_fails(); !broken.empty()) return broken;
  settle();
  if (std::string broken = world.broken(); !broken.empty()) return "at the end: " + broken;
  return unsettled();
}

constexpr int kSteps = 400;

TEST(Model, NoSeedBreaksAnInvariant) {
  const char* const only = std::getenv("KRAKEN_SEED");
  const std::uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
  const std::uint64_t last = only != nullptr ? first : 300;
  std::size_t manifests = 0;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    Sim sim(seed, {}, {});
    ASSERT_EQ(sim.run(kSteps), "") << "KRAKEN_SEED=" << seed << " unit_src_metadata_state --gtest_filter=Model.NoSeed*";
    manifests += sim.world.rows.rows(kv::Family::kManifest).size();
  }
  // A model in which nothing happens holds too.
  if (only == nullptr) EXPECT_GT(manifests, 50u);
}

struct Mutant {
  const char* name;
  bool Rules::* rule = nullptr;
  bool Manners::* manner = nullptr;
};

void PrintTo(const Mutant& mutant, std::ostream* out) { *out << mutant.name; }

class Without : public testing::TestWithParam<Mutant> {};

TEST_P(Without, SomeSeedBreaksAnInvariant) {
  Rules rules;
  Manners manners;
  if (GetParam().rule != nullptr) rules.*GetParam().rule = false;
  if (GetParam().manner != nullptr) manners.*GetParam().manner = false;
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    Sim sim(seed, rules, manners);
    if (const std::string broken = sim.run(kSteps); !broken.empty()) {
      RecordProperty("seed", static_cast<int>(seed));
      RecordProperty("broken", broken);
      std::printf("seed %d: %s\n", static_cast<int>(seed), broken.c_str());
      return;
    }
  }
  FAIL() << "not noticed";
}

// Not among them: marks_hold_off_condemn, which shows only where a mark lasts longer than a grace, and
// generation_never_repeats, whose shortest trace has 26 steps. Both have their fixed schedule.
INSTANTIATE_TEST_SUITE_P(
    Model, Without,
    testing::Values(Mutant{"EnterNeedsGeneration", &Rules::enter_needs_generation},
                    Mutant{"LeaveRenewsGeneration", &Rules::leave_renews_generation},
                    Mutant{"CommitNeedsGeneration", &Rules::commit_needs_generation},
                    Mutant{"CommitNeedsMark", &Rules::commit_needs_mark},
                    Mutant{"LeaveKeepsLastHolder", &Rules::leave_keeps_last_holder},
                    Mutant{"ArriveRevives", &Rules::arrive_revives},
                    Mutant{"AddRefNeedsRecord", &Rules::add_ref_needs_record},
                    Mutant{"RefsHoldOffCondemn", &Rules::refs_hold_off_condemn},
                    Mutant{"SecondGrace", &Rules::second_grace}, Mutant{"RenewRevives", &Rules::renew_revives},
                    Mutant{"PutRefusesOldPush", &Rules::put_refuses_old_push},
                    Mutant{"RemoveRefNamesPush", &Rules::remove_ref_names_push},
                    Mutant{"DeleteAddsRemoveTasks", &Rules::delete_adds_remove_tasks},
                    Mutant{"RetagNeedsRow", &Rules::retag_needs_row},
                    Mutant{"ScrubWaitsUnderArriving", nullptr, &Manners::scrub_waits_under_arriving},
                    Mutant{"UnnamedGoesThroughLeave", nullptr, &Manners::unnamed_goes_through_leave},
                    Mutant{"LockFromReadToUnlink", nullptr, &Manners::lock_from_read_to_unlink},
                    Mutant{"VerifyWaitsForTheLimit", nullptr, &Manners::verify_waits_for_the_limit},
                    Mutant{"WriteQuorumOfTwo", nullptr, &Manners::commit_after_two_copies},
                    Mutant{"RefsBeforePut", nullptr, &Manners::refs_before_put},
                    Mutant{"ManifestHasItsOwnRef", nullptr, &Manners::manifest_has_its_own_ref}),
    [](const auto& mutant) { return std::string(mutant.param.name); });

}  // namespace
}  // namespace kraken::metadata::state::test
