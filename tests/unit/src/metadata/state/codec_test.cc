// Encodings: what was encoded decodes to itself, and any bytes decode to a value or an error.

#include <gtest/gtest.h>

#include "src/base/hex.h"
#include "src/base/rng.h"
#include "src/metadata/state/describe.h"
#include "tests/unit/src/metadata/state/world.h"

namespace kraken::metadata::state::test {
namespace {

// Random values of every struct, small so that each field is often empty and often not.
class Some {
 public:
  explicit Some(std::uint64_t seed) : rng_(seed) {}
  std::uint64_t number() { return rng_.chance(0.2) ? rng_.next() : rng_.below(300); }
  bool flag() { return rng_.chance(0.5); }
  Duration time() { return Duration(rng_.below(1'000'000'000'000'000)); }
  std::string text() {
    std::string out(rng_.below(6), ' ');
    for (char& c : out) c = static_cast<char>(rng_.below(256));
    return out;
  }
  Digest digest() { return test::digest(static_cast<int>(rng_.below(5))); }
  PushId push() { return {time(), number()}; }
  Repository repository() { return Repository::parse("r" + std::to_string(rng_.below(5))).value(); }
  TagName tag() { return TagName::parse("t" + std::to_string(rng_.below(5))).value(); }
  StoreId store() { return test::store(static_cast<int>(rng_.below(9))); }
  Holder holder() { return {store(), text(), flag()}; }
  template <class F>
  auto list(F make) {
    std::vector<decltype(make())> out(rng_.below(4));
    for (auto& item : out) item = make();
    return out;
  }
  template <class F>
  auto maybe(F make) {
    std::optional<decltype(make())> out;
    if (flag()) out = make();
    return out;
  }
  std::vector<Digest> digests() {
    return list([this] { return digest(); });
  }
  std::vector<std::string> texts() {
    return list([this] { return text(); });
  }
  std::vector<TagName> tags() {
    return list([this] { return tag(); });
  }
  std::vector<Holder> holders() {
    return list([this] { return holder(); });
  }
  InfoHash infohash() { return InfoHash::from_raw(digest().raw().substr(0, 20)).value(); }
  PeerId peer_id() { return PeerId::from_raw(digest().raw().substr(0, 20)).value(); }
  std::uint16_t port() { return static_cast<std::uint16_t>(rng_.below(65536)); }
  std::uint32_t small() { return static_cast<std::uint32_t>(rng_.below(1000)); }

  BlobRow blob_row() {
    BlobRow row;
    row.state = static_cast<BlobState>(1 + rng_.below(3));
    row.size = number();
    row.generation = number();
    row.holders = holders();
    row.backends = texts();
    row.condemned_at = maybe([this] { return time(); });
    return row;
  }
  TagRow tag_row() { return {digest(), number(), time(), flag()}; }
  ManifestRow manifest_row() {
    return {text(), number(), digests(), maybe([this] { return digest(); }), push(), number(), time(), flag()};
  }
  MetainfoRow metainfo_row() {
    return {infohash(), number(), number(), list([this] { return small(); })};
  }
  TaskKey task_key() { return {time(), number(), small()}; }
  TaskRow task_row() {
    static constexpr std::array kKinds{
        TaskKind::kCopy,         TaskKind::kVerifyRef,    TaskKind::kWriteBackBlob,   TaskKind::kRemoveRefs,
        TaskKind::kWriteBackTag, TaskKind::kReplicateTag, TaskKind::kDeleteBackendTag};
    TaskRow row;
    row.kind = kKinds[rng_.below(kKinds.size())];
    row.digest = digest();
    row.digests = digests();
    if (flag()) row.repository = repository();
    if (flag()) row.tag = tag();
    row.manifest = digest();
    row.push = push();
    row.target = text();
    row.tag_revision = number();
    row.created = time();
    row.revision = number();
    row.failures = small();
    row.error = text();
    row.claim = maybe([this] { return Claim{text(), time()}; });
    return row;
  }
  PeerRow peer_row() { return {text(), port(), flag(), time()}; }
  MetaInfo metainfo() {
    MetaInfo info;
    info.digest = digest();
    info.length = number();
    info.piece_length = number();
    info.piece_sums = list([this] { return small(); });
    return info;
  }
  Expectation expectation() { return {static_cast<Expectation::Kind>(rng_.below(4)), number(), digest()}; }
  TagTasks tag_tasks() { return {flag(), texts()}; }
  RefName ref() { return {repository(), digest(), push()}; }
  PeerRecord peer_record() { return {infohash(), peer_id(), text(), port(), flag(), time()}; }

  Command command(std::size_t index) {
    switch (index) {
      case 0:
        return Arrive{digest(), push(), time()};
      case 1:
        return Commit{digest(), push(), number(), holders(), metainfo(), small(), maybe([this] { return text(); }),
                      time()};
      case 2:
        return Renew{digest()};
      case 3:
        return Expire{digest(), push()};
      case 4:
        return AddRef{digest(), ref()};
      case 5:
        return RemoveRef{digest(), ref()};
      case 6:
        return Verified{digest(), ref()};
      case 7:
        return Condemn{digest()};
      case 8:
        return Delete{digest(), time()};
      case 9:
        return DeleteBlob{digest()};
      case 10:
        return Enter{digest(), holder(), number()};
      case 11:
        return Leave{digest(), store(), number(), list([this] { return store(); })};
      case 12:
        return Lost{digest(), store(), small()};
      case 13:
        return Suspect{digest(), store()};
      case 14:
        return Backed{digest(), text()};
      case 15:
        return PutManifest{
            repository(), digest(),      push(),     text(), number(), digests(), maybe([this] { return digest(); }),
            tags(),       expectation(), tag_tasks()};
      case 16:
        return Retag{repository(), tags(), digest(), expectation(), tag_tasks(), flag()};
      case 17:
        return DeleteManifest{repository(), digest(), flag(), flag()};
      case 18:
        return DeleteTag{repository(), tag(), expectation(), flag()};
      case 19:
        return ClearTombstone{repository(), maybe([this] { return tag(); }), maybe([this] { return digest(); }),
                              number()};
      case 20:
        return Tick{};
      case 21:
        return PeerBatch{list([this] { return peer_record(); })};
      case 22:
        return AddTask{task_row(), time()};
      case 23:
        return ClaimTask{task_key(), number(), text(), time()};
      case 24:
        return FinishTask{task_key(), number()};
      default:
        return PostponeTask{task_key(), number(), time(), text()};
    }
  }
  Outcome outcome() {
    Outcome out;
    out.refusal = static_cast<Refusal>(rng_.below(23));
    out.detail = text();
    out.index = number();
    out.now = time();
    out.blob = maybe([this] { return blob_row(); });
    out.metainfo_differs = flag();
    out.tag = maybe([this] { return tag_row(); });
    out.task_key = maybe([this] { return task_key(); });
    out.task = maybe([this] { return task_row(); });
    out.removed = small();
    return out;
  }
  Query query(std::size_t index) {
    switch (index) {
      case 0:
        return GetTag{repository(), tag()};
      case 1:
        return ListTags{repository(), text(), small()};
      case 2:
        return ListRepositories{text(), small()};
      case 3:
        return GetManifest{repository(), digest()};
      case 4:
        return GetBlob{digest(), flag()};
      case 5:
        return GetMetainfo{digest()};
      case 6:
        return ListBlobs{maybe([this] { return digest(); }), small()};
      case 7:
        return ListTasks{flag(), maybe([] { return TaskKind::kCopy; }), maybe([this] { return task_key(); }), small()};
      case 8:
        return ListPeers{maybe([this] { return infohash(); }), maybe([this] { return infohash(); }),
                         maybe([this] { return peer_id(); }), small()};
      default:
        return GetTime{};
    }
  }
  Answer answer(std::size_t index) {
    const AnswerBase base{time()};
    switch (index) {
      case 0:
        return TagAnswer{base, maybe([this] { return tag_row(); })};
      case 1:
        return TagsAnswer{base, flag(), list([this] { return NamedTag{tag(), tag_row()}; }), flag()};
      case 2:
        return RepositoriesAnswer{base, list([this] { return repository(); }), flag()};
      case 3:
        return ManifestAnswer{base, maybe([this] { return manifest_row(); })};
      case 4:
        return BlobAnswer{base, maybe([this] { return blob_row(); }), maybe([this] { return metainfo_row(); }),
                          list([this] { return NamedMark{push(), MarkRow{time()}}; }), flag()};
      case 5:
        return MetainfoAnswer{base, maybe([this] { return metainfo_row(); })};
      case 6:
        return BlobsAnswer{base, list([this] { return NamedBlob{digest(), blob_row()}; }), flag()};
      case 7:
        return TasksAnswer{base, list([this] { return Task{task_key(), task_row()}; }), flag(),
                           maybe([this] { return time(); })};
      case 8:
        return PeersAnswer{base, list([this] { return NamedPeer{infohash(), peer_id(), peer_row()}; }), flag()};
      case 9:
        return TimeAnswer{base};
      default:
        return ErrorAnswer{base, 3, text()};
    }
  }

 private:
  Rng rng_;
};

// Cuts at every byte and flips of every byte: a value or an error, never more bytes than there are.
template <class Decode>
void expect_total(const std::string& bytes, Decode decode) {
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode(std::string_view(bytes).substr(0, size)));
  EXPECT_FALSE(decode(bytes + '\0'));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      static_cast<void>(decode(damaged));
    }
  }
}

template <class Row>
void expect_row(const Row& row, kv::Family family) {
  const std::string bytes = encode(row);
  const auto decoded = decode<Row>(bytes);
  ASSERT_TRUE(decoded) << decoded.error().to_string();
  EXPECT_EQ(*decoded, row);
  expect_total(bytes, [&](std::string_view damaged) {
    static_cast<void>(describe(family, damaged, damaged));
    return decode<Row>(damaged).has_value();
  });
}

TEST(Codec, RowsComeBackAndDamageIsAnError) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Some some(seed);
    expect_row(some.blob_row(), kv::Family::kBlob);
    expect_row(MarkRow{some.time()}, kv::Family::kBlob);
    expect_row(some.tag_row(), kv::Family::kTag);
    expect_row(some.manifest_row(), kv::Family::kManifest);
    expect_row(some.metainfo_row(), kv::Family::kMetainfo);
    expect_row(RefRow{some.maybe([&] { return some.task_key(); })}, kv::Family::kRef);
    expect_row(some.task_row(), kv::Family::kTask);
    expect_row(some.peer_row(), kv::Family::kPeer);
  }
}

TEST(Codec, CommandsComeBackAndDamageIsAnError) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (std::size_t i = 0; i < std::variant_size_v<Command>; ++i) {
      const Command command = Some(seed * 100 + i).command(i);
      ASSERT_EQ(command.index(), i);
      const std::string bytes = encode(command);
      const auto decoded = decode_command(bytes);
      ASSERT_TRUE(decoded) << name(command) << " " << decoded.error().to_string();
      EXPECT_TRUE(*decoded == command) << name(command);
      EXPECT_NE(describe_command(bytes).find(name(command)), std::string::npos);
      expect_total(bytes, [](std::string_view damaged) {
        static_cast<void>(describe_command(damaged));
        return decode_command(damaged).has_value();
      });
    }
  }
}

TEST(Codec, DamagedCommandsDoNotCrashApply) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    for (std::size_t i = 0; i < std::variant_size_v<Command>; ++i) {
      const std::string bytes = encode(Some(seed * 100 + i).command(i));
      World world;
      world.push_blob(digest(1), {1, 2});
      world.apply_bytes(bytes);
      for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
        world.apply_bytes(damaged);
      }
    }
  }
}

TEST(Codec, OutcomesQueriesAndAnswersComeBackAndDamageIsAnError) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Outcome outcome = Some(seed).outcome();
    EXPECT_EQ(decode_outcome(encode(outcome)).value(), outcome);
    expect_total(encode(outcome), [](std::string_view damaged) { return decode_outcome(damaged).has_value(); });
    for (std::size_t i = 0; i < std::variant_size_v<Query>; ++i) {
      const Query query = Some(seed * 100 + i).query(i);
      ASSERT_EQ(query.index(), i);
      EXPECT_TRUE(decode_query(encode(query)).value() == query);
      expect_total(encode(query), [](std::string_view damaged) {
        World world;
        static_cast<void>(world.machine.query(world.shard, damaged, world.rows, 1s));
        return decode_query(damaged).has_value();
      });
    }
    for (std::size_t i = 0; i < std::variant_size_v<Answer>; ++i) {
      const Answer answer = Some(seed * 100 + i).answer(i);
      ASSERT_EQ(answer.index(), i);
      EXPECT_TRUE(decode_answer(encode(answer)).value() == answer);
      expect_total(encode(answer), [](std::string_view damaged) { return decode_answer(damaged).has_value(); });
    }
  }
}

TEST(Codec, ACountThatCannotBeReservesNothing) {
  // A blob row whose list of holders claims 2^32 - 1 items.
  const std::string bytes = from_hex(
                                "01"
                                "02"
                                "0000000000000008"
                                "0000000000000001"
                                "ffffffff")
                                .value();
  const auto row = decode<BlobRow>(bytes);
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().code, Code::kCorrupt);
}

TEST(Codec, AVersionOfTheFutureIsUnsupported) {
  std::string row = encode(TagRow{});
  row[0] = 2;
  EXPECT_EQ(decode<TagRow>(row).error().code, Code::kUnsupported);
  std::string command = encode(Command(Tick{}));
  command[0] = 2;
  EXPECT_EQ(decode_command(command).error().code, Code::kUnsupported);
}

TEST(Codec, RowsAndCommandsHaveTheseBytes) {
  const Digest of = Digest::parse("sha256:" + std::string(62, 'a') + "01").value();
  const std::string of_hex = std::string(62, 'a') + "01";
  EXPECT_EQ(to_hex(encode(TagRow{of, 12, 3s, false})), "01" + of_hex +
                                                           "000000000000000c"
                                                           "00000000b2d05e00"
                                                           "00");
  BlobRow blob;
  blob.state = BlobState::kLive;
  blob.size = 8;
  blob.generation = 5;
  blob.holders = {{store(1), "o1", false}};
  EXPECT_EQ(to_hex(encode(blob)),
            "01"
            "02"
            "0000000000000008"
            "0000000000000005"
            "00000001"
            "00000000000000000000000000000001"
            "00000002"
            "6f31"
            "00"
            "00000000"
            "00");
  EXPECT_EQ(to_hex(encode(Command(Tick{}))), "0140");
  EXPECT_EQ(to_hex(encode(Command(Renew{of}))), "0103" + of_hex);
}

TEST(Describe, ShowsKeysAndValuesAsLines) {
  World world;
  world.push_blob(digest(1), {1, 2});
  world.push_blob(digest(2), {1});
  world.push_manifest(digest(2), {digest(1)});
  world.apply(PeerBatch{{Some(1).peer_record()}});
  int lines = 0;
  for (std::size_t i = 0; i < kv::kFamilies; ++i) {
    for (const auto& [key, value] : world.rows.rows(kv::family_at(i))) {
      const Described line = describe(kv::family_at(i), key, value);
      EXPECT_EQ(line.key.find("key="), std::string::npos) << line.key;
      EXPECT_EQ(line.value.find("unreadable"), std::string::npos) << line.value;
      ++lines;
    }
  }
  EXPECT_GT(lines, 10);
  const std::string key = keys::tag(world.shard, repository(), tag());
  const Described line = describe(kv::Family::kTag, key, encode(TagRow{digest(2), 12, 3s, false}));
  EXPECT_EQ(line.key, "tag shard=1 library/app:v1");
  EXPECT_EQ(line.value, "digest=" + digest(2).str() + " revision=12 time=3.000s");
}

}  // namespace
}  // namespace kraken::metadata::state::test
