// Snapshots as files and as a stream: what a broken connection, a restart and a crash leave behind.

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "consensus/group/frame.h"
#include "consensus/group/snapshots.h"
#include "consensus/group/transport.h"
#include "src/base/rng.h"
#include "src/net/io.h"
#include "src/net/listen.h"
#include "src/net/scope.h"
#include "tests/unit/consensus/group/cluster.h"

namespace kraken::group::test {
namespace {

namespace fs = std::filesystem;

constexpr ShardId kShard{3};
constexpr ShardId kOther{4};
constexpr std::size_t kTableBytes = 128 << 10;

raft::SnapMeta meta() {
  raft::SnapMeta meta{.index = raft::Index{500}, .term = raft::Term{7}, .conf = {}, .snap_id = 0xabcdef};
  meta.conf.voters = {raft::ReplicaId{1}, raft::ReplicaId{2}, raft::ReplicaId{3}};
  return meta;
}

using Rows = std::map<std::pair<kv::Family, std::string>, std::string>;

Rows rows_of(const kv::View& view, ShardId shard) {
  Rows rows;
  EXPECT_TRUE(kv::export_shard(view, shard, [&](kv::Family family, std::string_view key, std::string_view value) {
    rows.emplace(std::pair(family, std::string(key)), std::string(value));
    return true;
  }));
  return rows;
}

void put(kv::Store& store, kv::Family family, std::string key, std::string value) {
  kv::Batch batch;
  batch.put(family, std::move(key), std::move(value));
  ASSERT_TRUE(store.write(batch, kv::Durability::kSynced));
}

/// About 2 MB over three families, applied up to meta().
void fill(kv::Store& store, ShardId shard = kShard) {
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    std::string value;
    while (value.size() < 900 + rng.below(200)) value.push_back(static_cast<char>(rng.next()));
    put(store, i % 2 ? kv::Family::kTag : kv::Family::kBlob, Toy::key(shard, fmt::format("row{:05}", i)), value);
  }
  put(store, kv::Family::kSession, applied_key(shard),
      encode_applied({.index = meta().index, .term = meta().term, .now = 5s, .digest = {1, 2}}));
  put(store, kv::Family::kTag, Toy::key(kOther, "of the sender alone"), "x");
}

/// What the snapshot must replace, and what it must not touch. A replica knows the offer's term durably before it installs (Engine::install).
void fill_target(kv::Store& store) {
  put(store, kv::Family::kRaft, hard_state_key(kShard), encode_hard_state(kShard, {.term = meta().term, .vote = {}}));
  put(store, kv::Family::kTag, Toy::key(kShard, "old"), "must go");
  put(store, kv::Family::kTag, Toy::key(kOther, "mine"), "must stay");
}

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "kr_snap_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ec;
    fs::remove_all(path_, ec);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// ---- files ----

class SnapshotFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    fill(source_);
    manifest_ = build_snapshot(source_, kShard, meta(), folder_.path() / "out", kTableBytes).value();
  }
  std::string table(std::size_t file) const { return file::read_all(table_path(folder_.path() / "out", file), 1 << 30).value(); }
  fs::path in() const { return folder_.path() / "in" / "one"; }
  /// Feeds what is missing, in pieces, until `bytes` have gone in.
  Result<> feed(SnapshotIntake& intake, std::uint64_t bytes = ~std::uint64_t{0}) const {
    while (!intake.complete() && bytes > 0) {
      const auto at = intake.position();
      const std::string all = table(at.file);
      const std::size_t some = std::min<std::uint64_t>({50'000, bytes, all.size() - at.offset});
      KR_CHECK(intake.append(at, std::string_view(all).substr(at.offset, some)));
      bytes -= some;
    }
    return {};
  }

  Folder folder_;
  kv::MemoryStore source_;
  SnapshotManifest manifest_;
};

TEST_F(SnapshotFiles, HoldTheShardAndNothingElse) {
  ASSERT_GT(manifest_.files.size(), 10U);
  EXPECT_EQ(decode_manifest(encode(manifest_)).value().files, manifest_.files);
  EXPECT_EQ(decode_manifest(encode(manifest_)).value().state_digest, (StateDigest{1, 2}.hex()));
  for (const Kind kind : {Kind::kMemory, Kind::kRocks}) {
    Folder where;
    std::unique_ptr<kv::Store> target = std::make_unique<kv::MemoryStore>();
    if (kind == Kind::kRocks) target = kv::open_rocksdb(where.path() / "db", {}).value();
    fill_target(*target);
    auto intake = SnapshotIntake::open(where.path() / "in" / "one", manifest_).value();
    ASSERT_TRUE(feed(intake));
    auto import = intake.import(*target);
    ASSERT_TRUE(import) << import.error().detail;
    EXPECT_EQ(rows_of(*target, kShard).size(), 1U) << "nothing changes before the commit";
    ASSERT_TRUE((*import)->commit(install_rows(kShard, meta())));
    EXPECT_EQ(rows_of(*target, kShard), rows_of(source_, kShard));
    EXPECT_EQ(rows_of(*target, kOther).size(), 1U);
    const auto log = load_log(*target, kShard);
    ASSERT_TRUE(log) << log.error().detail;
    EXPECT_EQ(log->boot.snap_index, meta().index);
  }
}

TEST_F(SnapshotFiles, ARestartGoesOnBehindWhatIsThere) {
  {
    auto intake = SnapshotIntake::open(in(), manifest_).value();
    ASSERT_TRUE(feed(intake, 1'000'000));
  }
  auto intake = SnapshotIntake::open(in(), manifest_).value();
  std::uint64_t there = intake.position().offset;
  for (std::size_t i = 0; i < intake.position().file; ++i) there += manifest_.files[i].bytes;
  EXPECT_EQ(there, 1'000'000U);
  ASSERT_TRUE(feed(intake));
  EXPECT_TRUE(SnapshotIntake::open(in(), manifest_).value().complete());
  kv::MemoryStore target;
  EXPECT_TRUE(intake.import(target));
}

TEST_F(SnapshotFiles, AFlippedBitInAKeptTableIsFoundAndOnlyThatTableComesAgain) {
  { auto intake = SnapshotIntake::open(in(), manifest_).value(); ASSERT_TRUE(feed(intake, 1'000'000)); }
  const auto flip = [&](std::size_t file) {
    std::string bytes = file::read_all(table_path(in(), file), 1 << 30).value();
    bytes[100] = static_cast<char>(bytes[100] ^ 1);
    std::ofstream(table_path(in(), file), std::ios::binary | std::ios::trunc) << bytes;
  };
  flip(2);
  {
    auto intake = SnapshotIntake::open(in(), manifest_).value();
    EXPECT_EQ(intake.position(), (SnapshotIntake::Position{2, 0}));
    ASSERT_TRUE(feed(intake));
  }
  // In the one that is under way it shows when that is whole.
  fs::remove_all(in());
  std::size_t under_way = 0;
  { auto intake = SnapshotIntake::open(in(), manifest_).value(); ASSERT_TRUE(feed(intake, 1'000'000)); under_way = intake.position().file; }
  flip(under_way);
  auto intake = SnapshotIntake::open(in(), manifest_).value();
  const auto fed = feed(intake);
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Code::kDigestMismatch);
  EXPECT_EQ(intake.position(), (SnapshotIntake::Position{under_way, 0}));
  EXPECT_TRUE(feed(intake));
  EXPECT_TRUE(intake.complete());
}

TEST_F(SnapshotFiles, AnotherSnapshotBeginsAnew) {
  { auto intake = SnapshotIntake::open(in(), manifest_).value(); ASSERT_TRUE(feed(intake, 1'000'000)); }
  SnapshotManifest other = manifest_;
  other.meta.index = raft::Index{501};
  EXPECT_EQ(SnapshotIntake::open(in(), other).value().position(), (SnapshotIntake::Position{}));
}

TEST_F(SnapshotFiles, WhatThePeerSaysIsChecked) {
  auto intake = SnapshotIntake::open(in(), manifest_).value();
  EXPECT_EQ(intake.append({1, 0}, "x").error().code, Code::kProtocol);
  EXPECT_EQ(intake.append({0, 5}, "x").error().code, Code::kProtocol);
  EXPECT_EQ(intake.append({0, 0}, std::string(manifest_.files[0].bytes + 1, 'x')).error().code, Code::kProtocol);
  // Digests that fit, rows that do not: of another shard, out of order, malformed, another index than promised.
  const auto refused = [&](const std::function<void(std::string&, SnapshotManifest&)>& change) {
    SnapshotManifest manifest = manifest_;
    fs::remove_all(in());
    std::vector<std::string> tables;
    for (std::size_t i = 0; i < manifest.files.size(); ++i) tables.push_back(table(i));
    change(tables[0], manifest);
    manifest.files[0].bytes = tables[0].size();
    manifest.files[0].digest = Digest::of(tables[0]);
    auto changed = SnapshotIntake::open(in(), manifest).value();
    for (std::size_t i = 0; i < tables.size(); ++i) EXPECT_TRUE(changed.append({i, 0}, tables[i]));
    kv::MemoryStore target;
    const auto import = changed.import(target);
    return !import && import.error().code == Code::kProtocol;
  };
  EXPECT_FALSE(refused([](std::string&, SnapshotManifest&) {}));
  EXPECT_TRUE(refused([](std::string& rows, SnapshotManifest&) { rows[5] = static_cast<char>(rows[5] + 1); }));  // the shard
  EXPECT_TRUE(refused([](std::string& rows, SnapshotManifest&) { rows.pop_back(); }));
  EXPECT_TRUE(refused([](std::string& rows, SnapshotManifest&) { rows += rows.substr(0, 2000); }));
  EXPECT_TRUE(refused([](std::string&, SnapshotManifest& manifest) { manifest.files[0].rows += 1; }));
  EXPECT_TRUE(refused([](std::string&, SnapshotManifest& manifest) { manifest.meta.index = raft::Index{501}; }));
  EXPECT_TRUE(refused([](std::string&, SnapshotManifest& manifest) { manifest.state_digest = StateDigest{1, 3}.hex(); }));
}

TEST_F(SnapshotFiles, AnyBytesAsAManifestAreHandled) {
  const std::string good = encode(manifest_);
  Rng rng(2);
  std::size_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = good.substr(0, rng.below(good.size() + 1));
    for (std::uint64_t i = rng.below(4); i > 0 && !bytes.empty(); --i) bytes[rng.below(bytes.size())] = static_cast<char>(rng.next());
    refused += decode_manifest(bytes) ? 0 : 1;
  }
  EXPECT_GT(refused, 2000U);
}

TEST_F(SnapshotFiles, AtStartOnlyWhatIsStillWantedStays) {
  const fs::path folder = folder_.path() / "in";
  { auto intake = SnapshotIntake::open(folder / "3-wanted", manifest_).value(); ASSERT_TRUE(feed(intake, 1000)); }
  fs::create_directories(folder / "3-broken");
  std::ofstream(folder / "3-broken" / "manifest") << "x";
  kv::MemoryStore behind;
  ASSERT_TRUE(remove_stale_snapshots(folder, behind));
  EXPECT_TRUE(fs::exists(folder / "3-wanted"));
  EXPECT_FALSE(fs::exists(folder / "3-broken"));
  ASSERT_TRUE(remove_stale_snapshots(folder, source_));  // has applied it
  EXPECT_FALSE(fs::exists(folder / "3-wanted"));
}

// ---- the stream ----

/// A sender's door without a Transport: shakes hands and serves. Between it and whoever dials lies a relay that breaks the
/// n-th connection after so many bytes to the receiver, and counts.
class Door {
 public:
  Door(Snapshots& snapshots, std::vector<std::uint64_t> budgets) : snapshots_(snapshots), budgets_(std::move(budgets)), loop_("door"), scope_(loop_.executor()) {
    acceptor_ = net::listen("127.0.0.1", 0).value();
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    socklen_t length = sizeof(address);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
    scope_.spawn("accept", accept());
    relay_ = std::jthread([this](const std::stop_token& stop) { relay(stop); });
  }
  ~Door() {
    relay_.request_stop();
    relay_.join();
    for (std::jthread& pump : pumps_) pump.join();
    ::close(listener_);
    scope_.stop_and_wait();
    loop_.stop();
    loop_.join();
  }
  Member member() const { return {.label = "sender", .host = "127.0.0.1", .port = port_}; }
  std::uint64_t sent(std::size_t connection) const { return sent_[connection]; }
  std::size_t connections() const { return count_; }
  int most() const { return most_; }

 private:
  net::Task<void> accept() {
    for (;;) {
      KR_CO_TRY(net::Socket socket, co_await acceptor_.accept(loop_.executor()));
      scope_.spawn("greet", greet(std::make_shared<net::Socket>(std::move(socket))));
    }
  }
  net::Task<void> greet(std::shared_ptr<net::Socket> socket) {
    std::string rest;
    KR_CO_TRY(const OwnedFrame hello, co_await read_frame(*socket, rest, 10s));
    std::string frames;
    Welcome welcome;
    welcome.accepted = true;
    welcome.label = "sender";
    append_frame(FrameKind::kWelcome, encode(welcome), frames);
    KR_CO_CHECK(co_await net::write_all(*socket, frames));
    snapshots_.serve(std::move(*socket), std::move(rest));
    co_return Result<>{};
  }
  void relay(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd wait{.fd = listener_, .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, 20) != 1) continue;
      const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      const std::size_t number = count_++;
      const std::uint64_t budget = number < budgets_.size() ? budgets_[number] : ~std::uint64_t{0};
      pumps_.emplace_back([this, client, number, budget](const std::stop_token&) { pump(client, number, budget); });
    }
    done_ = true;
  }
  void pump(int client, std::size_t number, std::uint64_t budget) {
    // Those that were closed before this one was opened must have been seen to be: none is counted with its successor.
    ::poll(nullptr, 0, 100);
    most_ = std::max<int>(most_, ++active_);
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(acceptor_.port());
    EXPECT_EQ(::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::vector<char> buffer(16 << 10);
    while (!done_ && sent_[number] < budget) {
      pollfd both[2] = {{.fd = client, .events = POLLIN, .revents = 0}, {.fd = server, .events = POLLIN, .revents = 0}};
      if (::poll(both, 2, 20) <= 0) continue;
      bool ended = false;
      for (int i = 0; i < 2; ++i) {
        if (both[i].revents == 0) continue;
        const ssize_t got = ::recv(both[i].fd, buffer.data(), buffer.size(), 0);
        ended |= got <= 0;
        for (ssize_t put = 0; put < got;) {
          const ssize_t some = ::send(both[1 - i].fd, buffer.data() + put, static_cast<std::size_t>(got - put), MSG_NOSIGNAL);
          if (some <= 0) { ended = true; break; }
          put += some;
        }
        if (i == 1 && got > 0) sent_[number] += static_cast<std::uint64_t>(got);
      }
      if (ended) break;
    }
    ::close(client);
    ::close(server);
    --active_;
  }

  Snapshots& snapshots_;
  const std::vector<std::uint64_t> budgets_;
  net::Loop loop_;
  net::Scope scope_;
  net::Acceptor acceptor_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::array<std::atomic<std::uint64_t>, 64> sent_{};
  std::atomic<std::size_t> count_{0};
  std::atomic<int> active_{0}, most_{0};
  std::atomic<bool> done_{false};
  std::vector<std::jthread> pumps_;
  std::jthread relay_;
};

class SnapshotStream : public ::testing::Test {
 protected:
  SnapshotStream() : sender_(source_, {.folder = folder_.path() / "sender", .file_bytes = kTableBytes}) {
    fill(source_);
    sender_.offer(kShard, meta(), source_.snapshot());
    bytes_ = build_snapshot(source_, kShard, meta(), folder_.path() / "measured", kTableBytes).value().bytes();
  }
  SnapshotOptions receiver() const { return {.folder = folder_.path() / "receiver", .retry = 10ms}; }
  static Result<std::unique_ptr<kv::ShardImport>> fetch(Snapshots& receiver, const Door& door, std::uint64_t snap_id = meta().snap_id) {
    std::promise<Result<std::unique_ptr<kv::ShardImport>>> done;
    receiver.fetch(wanted(door, snap_id), [&](Result<std::unique_ptr<kv::ShardImport>> received) { done.set_value(std::move(received)); });
    return done.get_future().get();
  }
  static Snapshots::Fetch wanted(const Door& door, std::uint64_t snap_id, ShardId shard = kShard) {
    raft::SnapMeta of = meta();
    of.snap_id = snap_id;
    Hello hello;
    hello.purpose = Hello::Purpose::kSnapshot;
    hello.self.incarnation = Incarnation::random();
    return {.shard = shard, .meta = of, .from = door.member(), .hello = hello};
  }
  fs::path kept() const { return folder_.path() / "receiver" / "in" / fmt::format("3-{:016x}", meta().snap_id); }

  Folder folder_;
  kv::MemoryStore source_;
  Snapshots sender_;
  std::uint64_t bytes_ = 0;
};

TEST_F(SnapshotStream, ABrokenConnectionIsGoneOnWithWhereItBroke) {
  Door door(sender_, {300'000, 5'000, 700'000});
  kv::MemoryStore target;
  Snapshots receiver(target, this->receiver());
  auto import = fetch(receiver, door);
  ASSERT_TRUE(import) << import.error().detail;
  ASSERT_TRUE((*import)->commit(install_rows(kShard, meta())));
  EXPECT_EQ(rows_of(target, kShard), rows_of(source_, kShard));
  ASSERT_EQ(door.connections(), 4U);
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < 4; ++i) all += door.sent(i);
  // At most a chunk that was on its way is sent twice at each break.
  EXPECT_LT(all, bytes_ + 3 * (300 << 10));
}

TEST_F(SnapshotStream, AReceiverThatStartsAgainGoesOnWhereItWas) {
  kv::MemoryStore target;
  std::uint64_t first = 0;
  {
    Door door(sender_, {1'200'000, 0, 0, 0, 0, 0, 0, 0});
    SnapshotOptions options = receiver();
    options.attempts = 1;
    Snapshots receiver(target, options);
    EXPECT_FALSE(fetch(receiver, door));
    first = door.sent(0);
  }
  ASSERT_GT(first, 1'000'000U);
  Door door(sender_, {});
  Snapshots receiver(target, this->receiver());
  ASSERT_TRUE(fetch(receiver, door));
  EXPECT_LT(door.sent(0), bytes_ - first + (400 << 10));
}

// Crashes at both sides of the one atomic step.
TEST_F(SnapshotStream, ACrashBeforeTheIngestChangesNothingAndAfterItAllIsThere) {
  const fs::path db = folder_.path() / "db";
  Door door(sender_, {});
  {
    auto target = kv::open_rocksdb(db, {}).value();
    fill_target(*target);
    Snapshots receiver(*target, this->receiver());
    auto import = fetch(receiver, door);
    ASSERT_TRUE(import);
    // The process ends here: the import is never committed.
  }
  {
    auto target = kv::open_rocksdb(db, {}).value();
    EXPECT_EQ(rows_of(*target, kShard).size(), 1U);
    EXPECT_EQ(load_applied(*target, kShard).value().index, raft::Index{0});
    Snapshots receiver(*target, this->receiver());
    EXPECT_TRUE(fs::exists(kept()));
    auto import = fetch(receiver, door);
    ASSERT_TRUE(import);
    EXPECT_LT(door.sent(1), 20'000U) << "what was there came again";
    ASSERT_TRUE((*import)->commit(install_rows(kShard, meta())));
    // And here, before anybody heard of it.
  }
  auto target = kv::open_rocksdb(db, {}).value();
  EXPECT_EQ(rows_of(*target, kShard), rows_of(source_, kShard));
  EXPECT_EQ(rows_of(*target, kOther).size(), 1U);
  const auto log = load_log(*target, kShard);
  ASSERT_TRUE(log) << log.error().detail;
  EXPECT_EQ(log->boot.applied, meta().index);
  Snapshots receiver(*target, this->receiver());
  EXPECT_FALSE(fs::exists(kept())) << "a leftover of what is ingested";
}

TEST_F(SnapshotStream, AWithdrawnSnapshotIsNotWaitedFor) {
  Door door(sender_, {});
  kv::MemoryStore target;
  Snapshots receiver(target, this->receiver());
  sender_.withdraw(meta().snap_id);
  const auto refused = fetch(receiver, door);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kNotFound);
  EXPECT_EQ(door.connections(), 1U);
}

TEST_F(SnapshotStream, TheRateIsKeptOverAllThatIsSentAndTwoComeAtOnce) {
  SnapshotOptions slow{.folder = folder_.path() / "slow", .rate = 4 << 20, .file_bytes = kTableBytes};
  Snapshots sender(source_, slow);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    raft::SnapMeta of = meta();
    of.snap_id = id;
    sender.offer(kShard, of, source_.snapshot());
  }
  Door door(sender, {});
  kv::MemoryStore target;
  std::vector<std::unique_ptr<Snapshots>> receivers;  // a folder each: snapshots of one shard take each other's place
  const MonotonicTime begun = system_clock().monotonic();
  std::array<std::promise<bool>, 3> done;
  for (std::size_t i = 0; i < 3; ++i) {
    SnapshotOptions options = receiver();
    options.folder = folder_.path() / fmt::format("receiver{}", i);
    receivers.push_back(std::make_unique<Snapshots>(target, options));
    receivers[i]->fetch(wanted(door, i + 1), [&done, i](Result<std::unique_ptr<kv::ShardImport>> received) { done[i].set_value(received.has_value()); });
  }
  for (auto& one : done) EXPECT_TRUE(one.get_future().get());
  const double seconds = std::chrono::duration<double>(system_clock().monotonic() - begun).count();
  EXPECT_GT(seconds, 0.9 * 3 * static_cast<double>(bytes_) / (4 << 20));
  EXPECT_GE(door.most(), 2);

  // One receiver takes two at a time.
  Door again(sender, {});
  Snapshots one(target, {.folder = folder_.path() / "one", .retry = 10ms});
  std::array<std::promise<bool>, 3> ended;
  for (std::uint16_t i = 0; i < 3; ++i) {
    const ShardId shard{static_cast<std::uint16_t>(10 + i)};
    fill(source_, shard);
    raft::SnapMeta of = meta();
    of.snap_id = 10U + i;
    sender.offer(shard, of, source_.snapshot());
  }
  for (std::uint16_t i = 0; i < 3; ++i) {
    const ShardId shard{static_cast<std::uint16_t>(10 + i)};
    one.fetch(wanted(again, 10U + i, shard), [&ended, i](Result<std::unique_ptr<kv::ShardImport>> received) { ended[i].set_value(received.has_value()); });
  }
  for (auto& each : ended) EXPECT_TRUE(each.get_future().get());
  EXPECT_EQ(again.most(), 2);
}

}  // namespace
}  // namespace kraken::group::test
