// Commands and queries of the metadata's state machine: any bytes give an outcome or an answer; two replicas that apply the same bytes
// have the same rows and outcomes; what was decoded is encoded to bytes that decode to the same.

#include <array>
#include <map>

#include "src/metadata/state/describe.h"
#include "src/metadata/state/machine.h"
#include "storage/kv/memory/memory_store.h"
#include "tests/fuzz/input.h"

using namespace kraken;
using namespace kraken::metadata::state;

namespace {

struct Copy {
  Machine machine{metadata::Shards::make(1).value()};
  kv::MemoryStore rows;

  std::string apply(std::uint64_t index, Duration now, std::string_view command) {
    kv::Overlay overlay(rows);
    std::string outcome = machine.apply({kv::ShardId{1}, index, now}, command, overlay);
    fuzz::require(rows.write(overlay.take_batch(), kv::Durability::kBuffered).has_value());
    machine.applied(kv::ShardId{1});
    return outcome;
  }
  std::string dump() const {
    std::string out;
    const auto all = kv::export_shard(rows, kv::ShardId{1}, [&](kv::Family family, std::string_view key, std::string_view value) {
      out += static_cast<char>(family);
      out.append(key).append("=").append(value).append("\n");
      static_cast<void>(describe(family, key, value));
      return true;
    });
    fuzz::require(all.has_value());
    return out;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  Copy one, other;
  Duration now{1};
  for (std::uint64_t index = 1; !in.empty() && index <= 16; index++) {
    now += Duration(in.byte()) * 1'000'000'000;
    const std::uint64_t bytes = in.byte() * std::uint64_t{256};
    const std::string_view command = in.bytes(bytes + in.byte());
    static_cast<void>(describe_command(command));
    if (const auto decoded = decode_command(command)) {
      const std::string encoded = encode(*decoded);
      const auto again = decode_command(encoded);
      fuzz::require(again && *again == *decoded);
    }
    const std::string outcome = one.apply(index, now, command);
    fuzz::require(outcome == other.apply(index, now, command));
    fuzz::require(decode_outcome(outcome).has_value());
    fuzz::require(decode_answer(one.machine.query(kv::ShardId{1}, command, one.rows, now)).has_value());
  }
  fuzz::require(one.dump() == other.dump());
  return 0;
}
