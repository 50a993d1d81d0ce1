#include "consensus/group/system_state.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "consensus/group/mutants.h"
#include "src/base/codec.h"
#include "storage/kv/keys.h"

namespace kraken::group {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kTextMax = 255;

enum class Tag : std::uint8_t { kAdoptRing = 1, kReplace = 2, kSatisfied = 3 };

bool sensible(const WishNode& node) {
  return !node.label.empty() && node.label.size() <= kTextMax && node.host.size() <= kTextMax && std::isfinite(node.weight) && node.weight > 0;
}

void write(Writer& out, const WishNode& node) {
  out.bytes(node.label).bytes(node.host).u16(node.port).u64(std::bit_cast<std::uint64_t>(node.weight));
}

WishNode read_wish(Reader& in) {
  WishNode node;
  node.label = in.bytes();
  node.host = in.bytes();
  node.port = in.u16();
  node.weight = std::bit_cast<double>(in.u64());
  return node;
}

Incarnation read_incarnation(Reader& in) {
  const std::string_view bytes = in.raw(16);
  return in.ok() ? Incarnation::from(bytes) : Incarnation{};
}

void set(RingNode& row, const WishNode& node) {
  row.label = node.label;
  row.host = node.host;
  row.port = node.port;
  row.weight = node.weight;
}

WishNode wish_of(const RingNode& row) { return {.label = row.label, .host = row.host, .port = row.port, .weight = row.weight}; }

}  // namespace

std::uint64_t hash_of(std::vector<WishNode> nodes) {
  std::ranges::sort(nodes, {}, &WishNode::label);
  Writer out;
  for (const WishNode& node : nodes) write(out, node);
  return XXH3_64bits(out.str().data(), out.size());
}

std::string_view to_string(SystemOutcome outcome) {
  switch (outcome) {
    case SystemOutcome::kDone: return "done";
    case SystemOutcome::kMalformed: return "it makes no sense";
    case SystemOutcome::kStale: return "the ring has changed meanwhile";
    case SystemOutcome::kNotSettled: return "the ring before is not satisfied yet";
    case SystemOutcome::kUnknownLabel: return "no node of the ring has this label";
    case SystemOutcome::kIncarnation: return "another data folder than the ring's";
  }
  return "unknown";
}

// ---- commands ----

std::string encode(const SystemCommand& command) {
  Writer out;
  out.u8(static_cast<std::uint8_t>(kSystemMark)).u8(kVersion);
  if (const auto* adopt = std::get_if<AdoptRing>(&command)) {
    out.u8(static_cast<std::uint8_t>(Tag::kAdoptRing)).u64(adopt->prev_epoch).boolean(adopt->force);
    out.u32(static_cast<std::uint32_t>(adopt->nodes.size()));
    for (const AdoptRing::Node& node : adopt->nodes) {
      write(out, node.node);
      out.raw(node.incarnation.view());
    }
  } else if (const auto* replace = std::get_if<Replace>(&command)) {
    out.u8(static_cast<std::uint8_t>(Tag::kReplace)).bytes(replace->label);
    out.raw(replace->old_incarnation.view()).raw(replace->new_incarnation.view());
  } else {
    const auto& satisfied = std::get<Satisfied>(command);
    out.u8(static_cast<std::uint8_t>(Tag::kSatisfied)).u64(satisfied.epoch).u16(satisfied.shard.value());
  }
  return std::move(out).take();
}

Result<SystemCommand> decode_system_command(std::string_view bytes) {
  Reader in(bytes);
  if (in.u8() != static_cast<std::uint8_t>(kSystemMark)) return fail(Code::kCorrupt, "no system command");
  const std::uint8_t version = in.u8();
  const auto tag = static_cast<Tag>(in.u8());
  if (in.ok() && version != kVersion) return fail(Code::kUnsupported, "system command: version {}, known is {}", version, kVersion);
  SystemCommand command;
  switch (tag) {
    case Tag::kAdoptRing: {
      AdoptRing adopt{.prev_epoch = in.u64(), .force = in.boolean(), .nodes = {}};
      const std::uint32_t count = in.count(4 + 4 + 2 + 8 + 16);
      for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
        AdoptRing::Node node{.node = read_wish(in), .incarnation = {}};
        node.incarnation = read_incarnation(in);
        adopt.nodes.push_back(std::move(node));
      }
      command = std::move(adopt);
      break;
    }
    case Tag::kReplace: {
      Replace replace;
      replace.label = in.bytes();
      replace.old_incarnation = read_incarnation(in);
      replace.new_incarnation = read_incarnation(in);
      command = std::move(replace);
      break;
    }
    case Tag::kSatisfied: {
      const std::uint64_t epoch = in.u64();
      command = Satisfied{.epoch = epoch, .shard = ShardId{in.u16()}};
      break;
    }
    default:
      return fail(Code::kUnsupported, "system command: unknown kind {}", static_cast<int>(tag));
  }
  KR_CHECK(in.finish("system command"));
  return command;
}

// ---- state ----

const RingNode* SystemState::active(std::string_view label) const {
  const auto found = std::ranges::find_if(nodes, [&](const RingNode& node) { return node.active() && node.label == label; });
  return found == nodes.end() ? nullptr : &*found;
}

const RingNode* SystemState::member(std::uint32_t number) const {
  const auto found = std::ranges::find(nodes, number, &RingNode::member);
  return found == nodes.end() ? nullptr : &*found;
}

const RingNode* SystemState::member(std::string_view label, const Incarnation& incarnation) const {
  const auto found = std::ranges::find_if(nodes, [&](const RingNode& node) { return node.incarnation == incarnation && node.label == label; });
  return found == nodes.end() ? nullptr : &*found;
}

bool SystemState::settled() const { return std::ranges::find(satisfied, false) == satisfied.end(); }

std::vector<WishNode> SystemState::ring() const {
  std::vector<WishNode> out;
  for (const RingNode& node : nodes)
    if (node.active()) out.push_back(wish_of(node));
  return out;
}

AdoptedRing SystemState::adopted() const {
  AdoptedRing out{.epoch = epoch, .nodes = {}, .settled = settled()};
  for (const RingNode& node : nodes)
    if (node.state != NodeState::kDead) out.nodes.push_back(node);
  std::ranges::sort(out.nodes, {}, [](const RingNode& node) { return std::pair(node.label, node.member); });
  return out;
}

SystemOutcome SystemState::apply(const SystemCommand& command) {
  return std::visit([this](const auto& one) { return run(one); }, command);
}

void SystemState::changed_ring() {
  ++epoch;
  ++revision;
  satisfied.assign(shards, false);
  auto dead = static_cast<std::size_t>(std::ranges::count(nodes, NodeState::kDead, &RingNode::state));
  std::erase_if(nodes, [&](const RingNode& node) { return node.state == NodeState::kDead && dead > kDeadRowsMax && dead-- > 0; });
}

SystemOutcome SystemState::run(const AdoptRing& command) {
  if (command.prev_epoch != epoch) return SystemOutcome::kStale;
  if (!settled() && !command.force && !mutant(Mutant::kAdoptedUnsettled)) return SystemOutcome::kNotSettled;
  if (command.nodes.empty() || command.nodes.size() > kNodesMax) return SystemOutcome::kMalformed;
  std::set<std::string_view> labels;
  std::set<Incarnation> incarnations;
  std::vector<WishNode> wish;
  for (const AdoptRing::Node& node : command.nodes) {
    if (!sensible(node.node) || node.incarnation.empty()) return SystemOutcome::kMalformed;
    if (!labels.insert(node.node.label).second || !incarnations.insert(node.incarnation).second) return SystemOutcome::kMalformed;
    if (const RingNode* row = active(node.node.label); row && row->incarnation != node.incarnation) return SystemOutcome::kIncarnation;
    // A data folder belongs to one label for ever.
    for (const RingNode& row : nodes)
      if (row.incarnation == node.incarnation && row.label != node.node.label) return SystemOutcome::kIncarnation;
    wish.push_back(node.node);
  }
  const std::vector<WishNode> before = ring();
  if (hash_of(wish) == hash_of(before)) return SystemOutcome::kDone;  // asked twice
  for (RingNode& row : nodes)
    if (row.active() && !labels.contains(row.label)) row.state = NodeState::kLeaving;
  for (const AdoptRing::Node& node : command.nodes) {
    // One number per incarnation: a folder that left and comes back has it again, though never a replica id it had.
    auto row = std::ranges::find(nodes, node.incarnation, &RingNode::incarnation);
    if (row == nodes.end()) {
      row = nodes.insert(nodes.end(), RingNode{});
      row->incarnation = node.incarnation;
      row->member = next_member++;
    }
    set(*row, node.node);
    row->state = NodeState::kActive;
  }
  std::ranges::sort(nodes, {}, &RingNode::member);
  changed_ring();
  return SystemOutcome::kDone;
}

SystemOutcome SystemState::run(const Replace& command) {
  const RingNode* current = active(command.label);
  if (!current) return SystemOutcome::kUnknownLabel;
  if (current->incarnation == command.new_incarnation) return SystemOutcome::kDone;  // asked twice
  if (current->incarnation != command.old_incarnation) return SystemOutcome::kStale;
  if (command.new_incarnation.empty()) return SystemOutcome::kMalformed;
  for (const RingNode& row : nodes)
    if (row.incarnation == command.new_incarnation) return SystemOutcome::kIncarnation;
  RingNode fresh = *current;
  fresh.incarnation = command.new_incarnation;
  fresh.member = next_member++;
  for (RingNode& row : nodes)
    if (row.incarnation == command.old_incarnation) row.state = NodeState::kDead;
  nodes.push_back(std::move(fresh));
  changed_ring();
  return SystemOutcome::kDone;
}

SystemOutcome SystemState::run(const Satisfied& command) {
  if (command.epoch != epoch) return SystemOutcome::kStale;
  if (command.shard.value() == 0 || command.shard.value() > shards) return SystemOutcome::kMalformed;
  auto bit = satisfied[command.shard.value() - 1u];
  if (bit) return SystemOutcome::kDone;
  bit = true;
  ++revision;
  // Whoever left holds nothing any more that counts: every shard has said so.
  if (settled())
    for (RingNode& row : nodes)
      if (row.state == NodeState::kLeaving) row.state = NodeState::kDead;
  return SystemOutcome::kDone;
}

SystemState found_cluster(const Incarnation& cluster_id, const Incarnation& founder, std::uint16_t shards, std::uint16_t replicas,
                          std::vector<AdoptRing::Node> nodes) {
  SystemState state;
  state.cluster_id = cluster_id;
  state.founder = founder;
  state.shards = shards;
  state.replicas = replicas;
  state.epoch = state.revision = 1;
  std::ranges::sort(nodes, {}, [](const AdoptRing::Node& node) { return node.node.label; });
  for (const AdoptRing::Node& node : nodes) {
    RingNode& row = state.nodes.emplace_back();
    set(row, node.node);
    row.incarnation = node.incarnation;
    row.member = state.next_member++;
  }
  state.satisfied.assign(shards, true);
  return state;
}

std::string encode(const SystemState& state) {
  Writer out;
  out.u8(kVersion).raw(state.cluster_id.view()).raw(state.founder.view()).u16(state.shards).u16(state.replicas);
  out.u64(state.recovery_epoch).u32(state.feature_version).u64(state.revision).u64(state.epoch).u32(state.next_member);
  out.u32(static_cast<std::uint32_t>(state.nodes.size()));
  for (const RingNode& row : state.nodes) {
    out.u32(row.member).u8(static_cast<std::uint8_t>(row.state));
    write(out, wish_of(row));
    out.raw(row.incarnation.view());
  }
  std::string bits((state.satisfied.size() + 7) / 8, '\0');
  for (std::size_t i = 0; i < state.satisfied.size(); ++i)
    if (state.satisfied[i]) bits[i / 8] = static_cast<char>(bits[i / 8] | (1 << (i % 8)));
  out.bytes(bits);
  return std::move(out).take();
}

Result<SystemState> decode_system_state(std::string_view bytes) {
  Reader in(bytes);
  const std::uint8_t version = in.u8();
  if (in.ok() && version != kVersion) return fail(Code::kUnsupported, "system state: version {}, known is {}", version, kVersion);
  SystemState state;
  state.cluster_id = read_incarnation(in);
  state.founder = read_incarnation(in);
  state.shards = in.u16();
  state.replicas = in.u16();
  state.recovery_epoch = in.u64();
  state.feature_version = in.u32();
  state.revision = in.u64();
  state.epoch = in.u64();
  state.next_member = in.u32();
  const std::uint32_t count = in.count(4 + 1 + 4 + 4 + 2 + 8 + 16);
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    RingNode row;
    row.member = in.u32();
    const std::uint8_t what = in.u8();
    const WishNode wish = read_wish(in);
    set(row, wish);
    row.incarnation = read_incarnation(in);
    row.state = static_cast<NodeState>(what);
    if (!in.ok()) break;
    if (what < 1 || what > 3 || row.member <= last || row.member >= state.next_member || !sensible(wish) || row.incarnation.empty() ||
        (row.active() && state.active(row.label)))
      return fail(Code::kCorrupt, "system state: node {} makes no sense", i);
    last = row.member;
    state.nodes.push_back(std::move(row));
  }
  const std::string_view bits = in.bytes();
  KR_CHECK(in.finish("system state"));
  if (!std::has_single_bit(state.shards) || state.shards > kv::kShardsMax || state.replicas == 0 || state.epoch == 0 ||
      bits.size() != (state.shards + 7u) / 8 || state.ring().empty())
    return fail(Code::kCorrupt, "system state: it makes no sense");
  for (std::size_t i = 0; i < state.shards; ++i) state.satisfied.push_back((static_cast<std::uint8_t>(bits[i / 8]) >> (i % 8) & 1) != 0);
  return state;
}

// ---- placement ----

Placement place(const SystemState& state, ShardId shard, const Order& order) {
  Placement out{.epoch = state.epoch, .voters = {}, .learners = {}};
  std::vector<Member> members;
  for (const RingNode& row : state.nodes)
    if (row.active()) members.push_back({.label = row.label, .host = row.host, .port = row.port, .weight = row.weight});
  std::ranges::sort(members, {}, &Member::label);
  const bool system = shard == kSystemShard;
  std::vector<std::string> best;
  if (order) {
    best = order(members, system ? std::string("shard/sys") : fmt::format("shard/{}", shard.value() - 1));
  } else {
    for (const Member& member : members) best.push_back(member.label);
  }
  const std::size_t voters = !system ? std::size_t{state.replicas} : members.size() >= 5 ? 5 : 3;
  for (const std::string& label : best) {
    const RingNode* row = state.active(label);
    if (!row) continue;
    if (out.voters.size() < voters) {
      out.voters.push_back(row->member);
    } else if (system) {
      out.learners.push_back(row->member);
    }
  }
  if (system)
    for (const RingNode& row : state.nodes)
      if (row.state == NodeState::kLeaving) out.learners.push_back(row.member);
  return out;
}

// ---- as a state machine ----

std::string system_state_key() { return kv::shard_prefix(kSystemShard) + std::string("\0S", 2); }

Result<std::optional<SystemState>> load_system_state(const kv::View& view) {
  KR_TRY(const auto bytes, view.get(kv::Family::kSession, system_state_key()));
  if (!bytes) return std::nullopt;
  KR_TRY(SystemState state, decode_system_state(*bytes));
  return state;
}

std::string SystemMachine::apply(const ApplyContext& context, std::string_view command, kv::Overlay& rows) {
  if (context.shard != kSystemShard || command.empty() || command.front() != kSystemMark) return inner_.apply(context, command, rows);
  SystemOutcome outcome = SystemOutcome::kMalformed;
  std::uint64_t epoch = 0;
  auto state = load_system_state(rows);
  const auto decoded = decode_system_command(command);
  if (state && *state && decoded) {
    const std::uint64_t before = (*state)->revision;
    outcome = (*state)->apply(*decoded);
    epoch = (*state)->epoch;
    if ((*state)->revision != before) {
      rows.put(kv::Family::kSession, system_state_key(), encode(**state));
      fresh_ = std::move(**state);
    }
  }
  Writer out;
  out.u8(static_cast<std::uint8_t>(outcome)).u64(epoch);
  return std::move(out).take();
}

std::string SystemMachine::query(ShardId shard, std::string_view query, const kv::View& rows, Duration now) const {
  if (shard != kSystemShard || query.empty() || query.front() != kSystemMark) return inner_.query(shard, query, rows, now);
  const auto bytes = rows.get(kv::Family::kSession, system_state_key());
  return bytes && *bytes ? **bytes : std::string();
}

void SystemMachine::applied(ShardId shard, std::uint64_t index) {
  inner_.applied(shard, index);
  if (shard != kSystemShard || !fresh_) return;
  changed_(std::move(*fresh_));
  fresh_.reset();
}

void SystemMachine::restored(ShardId shard, const kv::View& state) {
  inner_.restored(shard, state);
  if (shard != kSystemShard) return;
  fresh_.reset();
  if (auto loaded = load_system_state(state); loaded && *loaded) changed_(std::move(**loaded));
}

}  // namespace kraken::group
