#pragma once
// Blobs in memory whose records stand in a fake metadata, as after a real push: what a manifest refers to is live.

#include <gtest/gtest.h>

#include "src/metadata/client.h"
#include "tests/unit/src/metadata/fake_port.h"
#include "tests/unit/src/registry/memory_blobs.h"

namespace kraken::registry::test {

class RecordedBlobs final : public MemoryBlobs {
 public:
  explicit RecordedBlobs(metadata::Client& metadata)
      : MemoryBlobs(
            [&metadata](Digest digest, std::string content) { return record(metadata, digest, content.size()); }),
        metadata_(metadata) {}

  /// Pushes it, bytes and record.
  Digest push(net::Executor executor, std::string content) {
    const auto digest = keep(std::move(content));
    EXPECT_TRUE(net::block_on(executor, record(metadata_, digest, 1)));
    return digest;
  }
  /// The record alone, for blobs whose bytes nobody asks for.
  void push_record(net::Executor executor, Digest digest) {
    EXPECT_TRUE(net::block_on(executor, record(metadata_, digest, 1)));
  }

  static net::Task<> record(metadata::Client& metadata, Digest digest, std::uint64_t bytes) {
    const auto mark = metadata.new_mark();
    KR_CO_TRY(const auto row, co_await metadata.arrive(digest, mark));
    metadata::state::Commit commit;
    commit.digest = digest;
    commit.push = mark;
    commit.generation = row.generation;
    commit.holders = {{StoreId(StoreId::Raw{1}), "node0", false}};
    commit.metainfo.digest = digest;
    commit.metainfo.length = bytes;
    commit.metainfo.piece_length = 4u << 20;
    commit.metainfo.piece_sums.assign((bytes + (4u << 20) - 1) / (4u << 20), 0);
    commit.owners = 1;
    KR_CO_CHECK(co_await metadata.commit(std::move(commit)));
    co_return Result<>{};
  }

 private:
  metadata::Client& metadata_;
};

}  // namespace kraken::registry::test
