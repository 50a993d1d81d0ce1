#include "storage/kv/keys.h"
#include "storage/kv/store.h"

namespace kraken::kv {

Result<> export_shard(const View& view, ShardId shard,
                      const std::function<bool(Family, std::string_view key, std::string_view value)>& each) {
  const std::string from = shard_prefix(shard);
  const std::string to = after_prefix(from);
  bool more = true;
  for (std::size_t i = 0; i < kFamilies && more; ++i) {
    const Family family = family_at(i);
    if (family == Family::kRaft) continue;
    KR_CHECK(view.scan(family, from, to, false, [&](std::string_view key, std::string_view value) {
      more = each(family, key, value);
      return more;
    }));
  }
  return {};
}

}  // namespace kraken::kv
