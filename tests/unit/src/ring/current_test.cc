#include "src/ring/current.h"

#include <gtest/gtest.h>

namespace kraken::ring {
namespace {

Ring ring_of(std::vector<Member> members, std::uint64_t epoch) {
  return Ring::make(std::move(members), Hash::kMurmur3, epoch).value();
}

TEST(CurrentRing, ASnapshotStaysAsItWas) {
  CurrentRing current(ring_of({{"host0", "origin0", 100}}, 1));
  const auto before = current.get();
  EXPECT_TRUE(current.set(ring_of({{"host0", "origin0", 100}, {"host1", "origin1", 100}}, 2)));
  EXPECT_EQ(before->size(), 1U);
  EXPECT_EQ(current.get()->size(), 2U);
  EXPECT_EQ(current.get()->epoch(), 2U);
}

TEST(CurrentRing, AnOlderEpochThatComesLateChangesNothing) {
  CurrentRing current(ring_of({{"host0", "origin0", 100}}, 2));
  EXPECT_FALSE(current.set(ring_of({{"host9", "origin0", 100}}, 1)));
  EXPECT_EQ(current.host_of("origin0"), "host0");
}

TEST(CurrentRing, AddressesAreThoseOfTheRingOfTheMoment) {
  CurrentRing current(ring_of({{"host0", "origin0", 100}}, 1));
  const Addresses addresses = current.addresses(15002);
  EXPECT_EQ(addresses("origin1"), std::nullopt);
  current.set(ring_of({{"host5", "origin0", 100}, {"host1", "origin1", 100}}, 2));
  EXPECT_EQ(addresses("origin0"), (Address{"host5", 15002}));
  EXPECT_EQ(addresses("origin1"), (Address{"host1", 15002}));
}

TEST(CurrentRing, ANodeThatIsLeavingHasAnAddressUnlessItsLabelWasTakenOver) {
  CurrentRing current;
  current.set(ring_of({{"host0", "origin0", 100}, {"new", "origin1", 100}}, 3), {{"host2", "origin2", 100}, {"old", "origin1", 100}});
  EXPECT_EQ(current.host_of("origin2"), "host2");
  EXPECT_EQ(current.host_of("origin1"), "new");
}

TEST(CurrentRing, ALabelThatLeftKeepsItsAddress) {
  CurrentRing current(ring_of({{"host0", "origin0", 100}, {"host1", "origin1", 100}}, 1));
  current.set(ring_of({{"host0", "origin0", 100}}, 2));
  EXPECT_EQ(current.host_of("origin1"), "host1");
  EXPECT_EQ(current.get()->find("origin1"), nullptr);
}

}  // namespace
}  // namespace kraken::ring
