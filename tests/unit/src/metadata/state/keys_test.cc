// Golden bytes of every key, and the property that their byte order is the order of what they name.

#include <gtest/gtest.h>

#include <algorithm>

#include "src/base/hex.h"
#include "src/base/rng.h"
#include "tests/unit/src/metadata/state/world.h"

namespace kraken::metadata::state::test {
namespace {

constexpr ShardId kShard{0x0102};
const Digest kDigest = Digest::parse("sha256:" + std::string(62, 'a') + "01").value();
const Digest kManifest = Digest::parse("sha256:" + std::string(62, 'b') + "02").value();
const PushId kPush{Duration(0x1122334455667788), 0x99aabbccddeeff00};
const std::string kDigestHex = std::string(62, 'a') + "01";
const std::string kManifestHex = std::string(62, 'b') + "02";
const std::string kPushHex = "112233445566778899aabbccddeeff00";
const std::string kAppHex = "6c6962726172792f617070";  // library/app

TEST(Keys, HaveTheseBytes) {
  const Repository app = repository();
  const TagName v1 = tag();
  EXPECT_EQ(to_hex(keys::tag(kShard, app, v1)), "010201" + kAppHex + "00" + "7631");
  EXPECT_EQ(to_hex(keys::tag_by_manifest(kShard, app, kManifest, v1)),
            "010202" + kAppHex + "00" + kManifestHex + "7631");
  EXPECT_EQ(to_hex(keys::manifest(kShard, app, kManifest)), "010201" + kAppHex + "00" + kManifestHex);
  EXPECT_EQ(to_hex(keys::blob(kShard, kDigest)), "010201" + kDigestHex);
  EXPECT_EQ(to_hex(keys::mark(kShard, kDigest, kPush)), "010202" + kDigestHex + kPushHex);
  EXPECT_EQ(to_hex(keys::metainfo(kShard, kDigest)), "010201" + kDigestHex);
  EXPECT_EQ(to_hex(keys::ref(kShard, kDigest, {app, kManifest, kPush})),
            "010201" + kDigestHex + kAppHex + "00" + kManifestHex + kPushHex);
  EXPECT_EQ(to_hex(keys::task(kShard, {Duration(1), 2, 3})),
            "010201"
            "0000000000000001"
            "0000000000000002"
            "00000003");
  EXPECT_EQ(to_hex(keys::peer(kShard, InfoHash::parse(std::string(40, '1')).value(),
                              PeerId::parse(std::string(40, '2')).value())),
            "010201" + std::string(40, '1') + std::string(40, '2'));
  EXPECT_EQ(to_hex(keys::peer_sweep(kShard)), "010202");
  EXPECT_EQ(to_hex(keys::tags(kShard, app).from), "010201" + kAppHex + "00");
  EXPECT_EQ(to_hex(keys::tags(kShard, app).to), "010201" + kAppHex + "01");
  EXPECT_EQ(to_hex(keys::tags(kShard).to), "010202");
  EXPECT_EQ(kPush.str(), kPushHex);
}

TEST(Keys, AreTakenApartAgain) {
  const Repository app = repository();
  EXPECT_EQ(keys::parse_tag(keys::tag(kShard, app, tag()))->tag, tag());
  const auto by_manifest = keys::parse_tag_by_manifest(keys::tag_by_manifest(kShard, app, kManifest, tag()));
  EXPECT_EQ(by_manifest->repository, app);
  EXPECT_EQ(by_manifest->manifest, kManifest);
  EXPECT_EQ(by_manifest->tag, tag());
  EXPECT_EQ(keys::parse_manifest(keys::manifest(kShard, app, kManifest))->manifest, kManifest);
  EXPECT_EQ(keys::parse_blob(keys::blob(kShard, kDigest)), kDigest);
  EXPECT_EQ(keys::parse_mark(keys::mark(kShard, kDigest, kPush))->push, kPush);
  const RefName name{app, kManifest, kPush};
  EXPECT_EQ(keys::parse_ref(keys::ref(kShard, kDigest, name))->name, name);
  const TaskKey task{Duration(7), 8, 9};
  EXPECT_EQ(keys::parse_task(keys::task(kShard, task)), task);
}

TEST(Keys, CutShortOrTooLongAreNone) {
  const std::vector<std::string> all{keys::tag(kShard, repository(), tag()),
                                     keys::tag_by_manifest(kShard, repository(), kManifest, tag()),
                                     keys::manifest(kShard, repository(), kManifest),
                                     keys::blob(kShard, kDigest),
                                     keys::mark(kShard, kDigest, kPush),
                                     keys::ref(kShard, kDigest, {repository(), kManifest, kPush}),
                                     keys::task(kShard, {Duration(1), 2, 3})};
  const auto any = [](std::string_view key) {
    return keys::parse_manifest(key) || keys::parse_blob(key) || keys::parse_mark(key) || keys::parse_ref(key) ||
           keys::parse_task(key) || keys::parse_peer(key);
  };
  for (const std::string& key : all) {
    for (std::size_t size = 0; size < key.size(); ++size) any(std::string_view(key).substr(0, size));  // must not crash
    EXPECT_FALSE(any(key + std::string(60, '\xff')));
  }
  EXPECT_FALSE(any(""));
  EXPECT_FALSE(keys::parse_tag(keys::tag(kShard, repository(), tag()).substr(0, 8)));
}

TEST(Keys, AllBeginWithTheirShard) {
  const auto begins = [](const std::string& key) { return key.starts_with("\x01\x02"); };
  EXPECT_TRUE(begins(keys::tag(kShard, repository(), tag())) &&
              begins(keys::manifest(kShard, repository(), kManifest)) && begins(keys::blob(kShard, kDigest)) &&
              begins(keys::task(kShard, {})) && begins(keys::peer_sweep(kShard)));
}

// Names that are each other's prefixes, or differ in a character on either side of a separator, are what could go
// wrong.
const std::vector<std::string> kNames{"a", "a-b", "a.b", "a/b", "a0", "a_b", "aa", "ab", "b", "a/b/c", "a-b/c", "a--b"};
const std::vector<std::string> kTags{"v1", "v1.0", "v1-0", "V1", "_", "v10", "v2", "latest", "v", "0"};

TEST(Keys, ByteOrderIsLogicalOrder) {
  Rng rng(1);
  const auto random_name = [&] { return Repository::parse(kNames[rng.below(kNames.size())]).value(); };
  const auto random_tag = [&] { return TagName::parse(kTags[rng.below(kTags.size())]).value(); };
  const auto random_digest = [&] { return digest(static_cast<int>(rng.below(4))); };
  const auto random_push = [&] { return PushId{Duration(rng.below(3) << (rng.below(5) * 8)), rng.below(3)}; };
  const auto random_shard = [&] { return ShardId(static_cast<std::uint16_t>(rng.below(3) * 200)); };
  for (int i = 0; i < 20000; ++i) {
    const auto a = std::tuple(random_shard(), random_name(), random_tag());
    const auto b = std::tuple(random_shard(), random_name(), random_tag());
    const auto tag_key = [](const auto& t) { return std::apply(keys::tag, t); };
    ASSERT_EQ(a < b, tag_key(a) < tag_key(b));

    const auto c = std::tuple(random_shard(), random_digest(), RefName{random_name(), random_digest(), random_push()});
    const auto d = std::tuple(random_shard(), random_digest(), RefName{random_name(), random_digest(), random_push()});
    const auto ref_key = [](const auto& t) { return std::apply(keys::ref, t); };
    ASSERT_EQ(c < d, ref_key(c) < ref_key(d));

    const auto e = std::tuple(
        random_shard(), TaskKey{Duration(rng.below(2000)), rng.below(300), static_cast<std::uint32_t>(rng.below(2))});
    const auto f = std::tuple(
        random_shard(), TaskKey{Duration(rng.below(2000)), rng.below(300), static_cast<std::uint32_t>(rng.below(2))});
    const auto task_key = [](const auto& t) { return std::apply(keys::task, t); };
    ASSERT_EQ(e < f, task_key(e) < task_key(f));

    const auto g = std::tuple(random_shard(), random_name(), random_digest());
    const auto h = std::tuple(random_shard(), random_name(), random_digest());
    const auto manifest_key = [](const auto& t) { return std::apply(keys::manifest, t); };
    ASSERT_EQ(g < h, manifest_key(g) < manifest_key(h));
  }
}

TEST(Keys, ARepositorysRangeHasItsOwnTagsAlone) {
  for (const std::string& mine : kNames) {
    const auto range = keys::tags(kShard, Repository::parse(mine).value());
    for (const std::string& other : kNames) {
      const std::string key = keys::tag(kShard, Repository::parse(other).value(), tag());
      EXPECT_EQ(key >= range.from && key < range.to, mine == other) << mine << " " << other;
    }
  }
}

TEST(Shards, AreTheTopBitsPlusOne) {
  const Shards shards = Shards::make(128).value();
  EXPECT_EQ(shards.of(Digest::parse("sha256:" + std::string(64, '0')).value()), ShardId(1));
  EXPECT_EQ(shards.of(Digest::parse("sha256:" + std::string(64, 'f')).value()), ShardId(128));
  EXPECT_EQ(shards.of(Digest::parse("sha256:01ff" + std::string(60, 'f')).value()), ShardId(1));
  EXPECT_EQ(shards.of(Digest::parse("sha256:0200" + std::string(60, '0')).value()), ShardId(2));
  EXPECT_EQ(shards.of(repository()), shards.of(Digest::of("library/app")));
  for (const std::uint32_t bad : {0u, 3u, 8192u}) EXPECT_FALSE(Shards::make(bad));
  EXPECT_EQ(Shards::make(1)->of(kManifest), ShardId(1));
}

}  // namespace
}  // namespace kraken::metadata::state::test
