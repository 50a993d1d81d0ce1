#include "tests/sim/whole/handlers.h"

#include <fmt/format.h>

#include "src/metadata/client.h"
#include "src/metadata/manifest_push.h"
#include "src/net/task.h"

namespace kraken::sim::whole {

using namespace metadata;

struct VirtualLoop {
  boost::asio::io_context io{1};
  bool turning = false;

  void turn(EventQueue& events) {
    if (std::exchange(turning, true)) return;
    events.after(Time{}, [this] {
      turning = false;
      io.restart();
      io.poll();
    });
  }
};

std::shared_ptr<VirtualLoop> make_virtual_loop() { return std::make_shared<VirtualLoop>(); }

namespace {

class NodePort final : public Port {
 public:
  NodePort(World& world, VirtualLoop& loop, size_t node) : world_(world), loop_(loop), node_(node) {}
  uint64_t op = 0;

  net::Task<std::string> propose(ShardId shard, std::string command, Duration deadline) override {
    world_.history->called(op, shard, true);
    const auto start = [&](Node::Finish finish) { world_.nodes[node_]->propose(shard, std::move(command), deadline, op, std::move(finish)); };
    auto result = co_await wait(start);
    co_return result;
  }
  net::Task<std::string> query(ShardId shard, std::string query, Read read, Duration deadline) override {
    world_.history->called(op, shard, read == Read::kLinearizable);
    const auto start = [&](Node::Finish finish) { world_.nodes[node_]->query(shard, std::move(query), read, deadline, op, std::move(finish)); };
    auto result = co_await wait(start);
    co_return result;
  }

 private:
  template <class Start>
  net::Task<std::string> wait(const Start& start) {
    const auto initiate = [this, &start](auto handler) {
      auto shared = std::make_shared<decltype(handler)>(std::move(handler));
      start([this, shared](Result<std::string> result) {
        boost::asio::post(loop_.io, [shared, result = std::move(result)]() mutable { std::move (*shared)(std::move(result)); });
        loop_.turn(world_.events);
      });
    };
    auto result = co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(Result<std::string>)>(initiate, boost::asio::use_awaitable);
    co_return result;
  }

  World& world_;
  VirtualLoop& loop_;
  size_t node_;
};

ClientOptions client_options(World& world, Time patience) {
  ClientOptions o;
  o.read_deadline = patience;
  o.write_deadline = patience;
  o.random = [&world] { return world.work_random.next(); };
  return o;
}

}  // namespace

struct Handlers::Call {
  Call(World& w, VirtualLoop& l, Request r)
      : world(w), request(std::move(r)), port(w, l, request.node), client(port, w.shards, client_options(w, request.patience)) {}
  World& world;
  Request request;
  NodePort port;
  Client client;
  uint64_t op = 0;
  bool over = false;  // the client has its answer, or went
  Digest value;
  // What the client is told.
  bool conflict = false;
  std::optional<Digest> seen;
  uint64_t revision = 0;
  bool read_after_all = false;  // a delete that found nothing
  Done done;

  History::Op& record() { return world.history->at(op); }
  Repository repository() const { return *Repository::parse(request.repository); }
  TagName tag() const { return *TagName::parse(request.tag); }
};

namespace {

using CallPtr = std::shared_ptr<Handlers::Call>;

void tell(Handlers::Call& call, const std::optional<TagRow>& row) {
  call.seen.reset();
  if (!row) return;
  call.seen = row->digest;
  call.revision = row->revision;
}

net::Task<void> write_tag(CallPtr call, Expectation expect) {
  const Repository repository = call->repository();
  KR_CO_TRY(const Duration now, co_await call->client.time(call->world.shards.of(repository), Read::kLocal));
  state::PutManifest put;
  put.repository = repository;
  put.manifest = call->value;
  put.push = call->client.new_push(now);
  put.tags = {call->tag()};
  put.expect = expect;
  put.tasks.write_back = call->request.number % 4 == 0;
  KR_CO_TRY(auto outcome, co_await call->client.propose(put));
  // A clock that jumped has made the push id old, or somebody else's time was behind: begin again, as push_manifest does.
  for (int again = 0; again < 2 && outcome.refusal == state::Refusal::kPushTooOld; again++) {
    put.push = call->client.new_push(outcome.now);
    KR_CO_TRY(outcome, co_await call->client.propose(put));
  }
  if (outcome.refusal == state::Refusal::kRevision) {
    call->conflict = true;
    tell(*call, outcome.tag);
    co_return Result<>();
  }
  if (!outcome.done()) co_return fail(Code::kConflict, "refused");
  co_return Result<>();
}

net::Task<void> put_tag(CallPtr call) {
  auto result = co_await write_tag(call, Expectation::any());
  co_return result;
}

net::Task<void> swap_tag(CallPtr call) {
  const Read read = call->request.number % 2 == 0 ? Read::kLocal : Read::kLinearizable;
  KR_CO_TRY(const TagFound found, co_await call->client.get_tag(call->repository(), call->tag(), read));
  if (call->over) co_return fail(Code::kCancelled, "the client is gone");
  call->record().expect = found.row ? found.row->revision : 0;
  call->record().call = call->world.events.now();
  auto result = co_await write_tag(call, found.row ? Expectation::at(found.row->revision) : Expectation::absent());
  co_return result;
}

net::Task<void> get_tag(CallPtr call) {
  KR_CO_TRY(const TagFound found, co_await call->client.get_tag(call->repository(), call->tag()));
  tell(*call, found.row);
  co_return Result<>();
}

net::Task<void> delete_tag(CallPtr call) {
  auto written = co_await call->client.delete_tag(call->repository(), call->tag());
  if (!written && written.error().code == Code::kNotFound) {
    call->read_after_all = true;
    co_return Result<>();
  }
  if (!written) co_return std::unexpected(written.error());
  co_return Result<>();
}

MetaInfo metainfo_of(const Digest& digest, uint64_t piece_length) {
  MetaInfo m;
  m.digest = digest;
  m.length = 100;
  m.piece_length = piece_length;
  m.piece_sums.assign((100 + piece_length - 1) / piece_length, 7);
  return m;
}

net::Task<BlobCommitted> push_blob(CallPtr call, Digest digest, uint64_t piece_length) {
  const PushId push = call->client.new_mark();
  KR_CO_TRY(const BlobRow row, co_await call->client.arrive(digest, push));
  state::Commit commit;
  commit.digest = digest;
  commit.push = push;
  commit.generation = row.generation;
  StoreId::Raw store{};
  store[0] = static_cast<uint8_t>(call->request.node + 1);
  commit.holders = {Holder{StoreId(store), fmt::format("node{}", call->request.node), false}};
  commit.metainfo = metainfo_of(digest, piece_length);
  commit.owners = 1;
  auto committed = co_await call->client.commit(std::move(commit));
  co_return committed;
}

net::Task<void> push_whole(CallPtr call) {
  KR_CO_CHECK(co_await push_blob(call, call->value, 50));
  ManifestPush push;
  push.repository = call->repository();
  push.manifest = call->value;
  push.media_type = "application/vnd.oci.image.manifest.v1+json";
  push.size = 100;
  push.tags = {call->tag()};
  if (call->over) co_return fail(Code::kCancelled, "the client is gone");
  call->record().call = call->world.events.now();
  KR_CO_TRY(const ManifestPushed pushed, co_await push_manifest(call->client, std::move(push)));
  if (pushed.what != ManifestPushed::What::kStored) co_return fail(Code::kConflict, "not stored");
  co_return Result<>();
}

net::Task<void> race_metainfo(CallPtr call) {
  const Digest digest = Digest::of(fmt::format("blob {}", call->request.number % 4));
  KR_CO_TRY(const BlobCommitted committed, co_await push_blob(call, digest, 10 + call->request.number % 7 * 10));
  const MetaInfo* is = call->world.history->metainfo(digest);
  if (is == nullptr || *is != committed.metainfo) violated("18 metainfo", "a push was told another metainfo than the record's");
  KR_CO_TRY(const MetaInfo read, co_await call->client.get_metainfo(digest));
  if (*is != read) violated("18 metainfo", "another metainfo was read than the record's");
  co_return Result<>();
}

net::Task<void> add_task(CallPtr call) {
  state::TaskRow task;
  task.kind = state::TaskKind::kCopy;
  task.digest = call->value;
  auto result = co_await call->client.add_task(call->world.shards.of(call->value), std::move(task));
  co_return result;
}

net::Task<void> work_task(CallPtr call) {
  const ShardId shard = call->world.shards.at(static_cast<uint32_t>(call->request.number % call->world.shards.count()));
  state::ListTasks ask;
  ask.runnable = call->request.number % 5 != 0;  // others try to take what is taken
  ask.limit = 8;
  KR_CO_TRY(const auto tasks, co_await call->client.list_tasks(shard, ask));
  if (tasks.tasks.empty()) co_return Result<>();
  const state::Task& task = tasks.tasks[call->request.number % tasks.tasks.size()];
  KR_CO_TRY(const state::Task mine, co_await call->client.claim_task(shard, task.key, task.row.revision, fmt::format("node{}", call->request.node), ms(500)));
  if (call->request.number % 3 == 0) {
    auto postponed = co_await call->client.postpone_task(shard, mine.key, mine.row.revision, ms(50), "not now");
    co_return postponed;
  }
  // Some work takes longer than the claim lasts: then it may be somebody else's by now.
  if (call->request.number % 7 == 0) {
    KR_CO_CHECK(co_await call->client.tick(shard));
    KR_CO_CHECK(co_await call->client.time(shard, Read::kLinearizable));
  }
  auto finished = co_await call->client.finish_task(shard, mine.key, mine.row.revision);
  co_return finished;
}

net::Task<void> announce(CallPtr call) {
  const ShardId shard = call->world.shards.at(static_cast<uint32_t>(call->request.number % call->world.shards.count()));
  state::PeerBatch batch;
  for (uint64_t i = 0; i < 1 + call->request.number % 4; i++) {
    InfoHash::Raw hash{};
    hash[0] = static_cast<uint8_t>(call->request.number >> 8 & 3);
    PeerId::Raw peer{};
    peer[0] = static_cast<uint8_t>((call->request.number >> 16) + i);
    batch.records.push_back({InfoHash(hash), PeerId(peer), "10.0.0.1", 16'001, i % 2 == 0, ms(call->request.number % 7 == 0 ? 0 : 2'000)});
  }
  KR_CO_CHECK(co_await call->client.announce(shard, std::move(batch)));
  KR_CO_CHECK(co_await call->client.list_peers(shard, {}));
  co_return Result<>();
}

net::Task<void> list_tags(CallPtr call) {
  KR_CO_CHECK(co_await call->client.list_tags(call->repository(), "", 10));
  co_return Result<>();
}

net::Task<void> body(CallPtr call) {
  using What = Handlers::What;
  switch (call->request.what) {
    case What::kPutTag: return put_tag(call);
    case What::kGetTag: return get_tag(call);
    case What::kSwapTag: return swap_tag(call);
    case What::kDeleteTag: return delete_tag(call);
    case What::kPushManifest: return push_whole(call);
    case What::kRaceMetainfo: return race_metainfo(call);
    case What::kAddTask: return add_task(call);
    case What::kWorkTask: return work_task(call);
    case What::kAnnounce: return announce(call);
    default: return list_tags(call);
  }
}

void tell_client(Handlers::Call& call, bool ok) {
  if (std::exchange(call.over, true)) return;
  History::Op& op = call.record();
  op.unknown = !ok;
  op.conflict = call.conflict;
  op.seen = call.seen;
  op.revision = call.revision;
  if (ok && call.read_after_all) op.kind = History::Op::Kind::kRead;
  call.world.history->end(call.op);
  call.done(ok);
}

boost::asio::awaitable<void> run(CallPtr call, std::shared_ptr<uint64_t> running) {
  auto result = co_await body(call);
  --*running;
  if (call->world.verbose && call->world.calm && !result)
    fmt::print("{:>9} us request of client {} at node {}: {}\n", call->world.events.now().count() / 1000, call->request.client, call->request.node, result.error().to_string());
  tell_client(*call, result.has_value());
}

}  // namespace

void Handlers::start(Request request, Done done) {
  const What what = request.what;
  auto call = std::make_shared<Call>(world_, *loop_, std::move(request));
  call->done = std::move(done);
  const uint64_t number = next_value_++;
  call->value = Digest::of(fmt::format("value {}", number));
  History::Op op;
  op.client = call->request.client;
  op.key = call->request.repository + ":" + call->request.tag;
  op.value = call->value;
  if (what == What::kGetTag) op.kind = History::Op::Kind::kRead;
  if (what == What::kPutTag || what == What::kSwapTag || what == What::kPushManifest) op.kind = History::Op::Kind::kWrite;
  if (what == What::kDeleteTag) op.kind = History::Op::Kind::kRemove;
  call->op = call->port.op = world_.history->begin(std::move(op));
  world_.events.after(call->request.patience + ms(100), [call] { tell_client(*call, false); });
  boost::asio::co_spawn(loop_->io, run(call, running_), [](std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  });
  ++*running_;
  loop_->turn(world_.events);
}

}  // namespace kraken::sim::whole
