// kraken repair: what to type when a disk is damaged, or when a quorum is lost for good: that works on stopped nodes' folders,
// says what it is about to do, and deletes nothing. Without such words it is about blobs (blob_repair_command.cc).

#include <cstdio>
#include <filesystem>
#include <set>

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "consensus/group/recovery.h"
#include "src/base/file.h"
#include "storage/kv/rocksdb/failed_exits.h"
#include "storage/kv/rocksdb/open.h"
#include "storage/kv/set_aside.h"
#include "http/url.h"
#include "tools/blob_repair.h"
#include "tools/caller.h"

namespace kraken::tools {
namespace {

constexpr std::uint16_t kAdminPort = 14002;

struct Words {
  std::vector<std::string> data;
  std::string file;
  bool set_aside = false;
  bool start_again = false;
  bool offline = false;
  bool dry_run = false;
  bool yes_lose_data = false;
  std::string what;  // recover, replace, adopt
  std::string label;
  bool force = false;
  BlobRepairWords blobs;
};

Result<std::filesystem::path> only_folder(const Words& words) {
  if (words.data.size() != 1) return fail(Code::kInvalidArgument, "name one folder with --data");
  return kv::find_store(words.data.front());
}

int set_aside(const Words& words) {
  const auto folder = only_folder(words);
  if (!folder) return report(folder.error(), "repair");
  const auto moved = kv::set_aside(*folder);
  if (!moved) return report(moved.error(), "repair");
  fmt::print("{} is now {}\n"
             "Nothing was deleted. Start the node with --replace: its empty folder takes the place of this one, and the others fill it.\n"
             "Remove the old folder once `kraken status` shows the node without lag.\n",
             folder->string(), moved->string());
  return kExitOk;
}

int start_again(const Words& words) {
  const auto folder = only_folder(words);
  if (!folder) return report(folder.error(), "repair");
  const auto exits = kv::read_failed_exits(*folder);
  if (!exits) return report(exits.error(), "repair");
  if (const auto done = kv::forget_failed_exits(*folder); !done) return report(done.error(), "repair");
  for (const kv::FailedExit& exit : *exits) fmt::print("forgotten: {}\n", exit.why);
  fmt::print("Start the node again.\n");
  return kExitOk;
}

/// Whether something accepts connections there. A process that is paused does too, and it counts.
bool accepts(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
  bool connected = false;
  for (const addrinfo* at = found; at != nullptr && !connected; at = at->ai_next) {
    const UniqueFd fd(::socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol));
    if (!fd) continue;
    if (::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) {
      connected = true;
      break;
    }
    pollfd wait{.fd = fd.get(), .events = POLLOUT, .revents = 0};
    int error = 0;
    socklen_t length = sizeof(error);
    connected = ::poll(&wait, 1, 2000) == 1 && ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
  }
  ::freeaddrinfo(found);
  return connected;
}

struct Recovery {
  std::vector<std::unique_ptr<kv::Store>> stores;
  std::vector<group::Survivor> survivors;
  group::RecoveryPlan plan;
};

Result<Recovery> prepare(const Words& words, const config::NodeConfig& config) {
  Recovery recovery;
  for (const std::string& name : words.data) {
    KR_TRY(const std::filesystem::path folder, kv::find_store(name));
    KR_CHECK(kv::check_unused(folder));
    KR_TRY(std::unique_ptr<kv::Store> store, kv::open_rocksdb(folder, {.read_only = !words.yes_lose_data}));
    recovery.survivors.push_back({.folder = folder.string(), .store = store.get()});
    recovery.stores.push_back(std::move(store));
  }
  KR_TRY(recovery.plan, group::plan_recovery(recovery.survivors));
  KR_TRY(const std::vector<config::Member> members, config::members(config));
  std::set<std::string> running;
  for (const config::Member& member : members) {
    if (std::ranges::find(recovery.plan.labels, member.label) != recovery.plan.labels.end()) continue;
    const bool answers = accepts(member.host, config.raft.port);
    fmt::print("{:<20} {}:{} {}\n", member.label, member.host, config.raft.port, answers ? "answers" : "does not answer");
    if (answers) running.insert(member.label);
  }
  KR_CHECK(group::check_majority_lost(recovery.plan, running));
  return recovery;
}

int recover(const Words& words) {
  if (words.data.empty()) return report(Error{Code::kInvalidArgument, "name the survivors' folders, each with --data"}, "repair");
  config::LoadOptions options;
  options.file = words.file;
  const auto loaded = config::load_node(options);
  if (!loaded) return report(loaded.error()), kExitConfig;
  const auto recovery = prepare(words, loaded->config);
  if (!recovery) return report(recovery.error(), "repair");
  fmt::print("{}", group::describe(recovery->plan));
  if (!recovery->plan.needed()) {
    fmt::print("Nothing is lost: start these nodes.\n");
    return kExitOk;
  }
  if (!words.yes_lose_data) {
    fmt::print("Nothing was written. If the missing nodes are gone for good, repeat this with --yes-lose-data.\n");
    return kExitOk;
  }
  if (const auto done = group::carry_out(recovery->plan, recovery->survivors); !done) return report(done.error(), "repair");
  fmt::print("Recovered, as recovery epoch {}: start {}. A missing node that comes back is refused until\n"
             "`kraken repair --set-aside` has moved its folder away.\n",
             recovery->plan.epoch, fmt::join(recovery->plan.labels, ", "));
  return kExitOk;
}

Result<std::string> post(Caller& caller, const std::string& host, std::uint16_t port, std::string target) {
  http::ClientRequest request;
  request.method = http::Method::kPost;
  request.host = host;
  request.port = port;
  request.target = std::move(target);
  request.timeout = std::chrono::seconds(30);
  KR_TRY(const Reply reply, caller.call(std::move(request)));
  if (reply.status != 200) return std::unexpected(error_of(reply, "repair"));
  return reply.body;
}

int replace(const Words& words) {
  if (words.label.empty()) return report(Error{Code::kInvalidArgument, "name the node: kraken repair replace LABEL"}, "repair"), kExitUsage;
  const auto target = parse_target(words.blobs.host, kAdminPort);
  if (!target) return report(target.error());
  Caller caller;
  const auto done = post(caller, target->host, target->port, "/ring/replace?label=" + http::query_escape(words.label));
  if (!done) return report(done.error(), "repair");
  fmt::print("{}", *done);
  return kExitOk;
}

/// On every node, since any of them may lead group 0.
int adopt(const Words& words) {
  if (!words.force) {
    fmt::print("A new hashstate is adopted by itself; `kraken status` says what it waits for. With --force it is adopted although the ring before\n"
               "is not settled, several nodes leave at once, or a shard has too few voters up: blobs and shards with too few copies may then be lost\n"
               "with one more disk.\n");
    return kExitUsage;
  }
  const auto target = parse_target(words.blobs.host, kAdminPort);
  if (!target) return report(target.error());
  Caller caller;
  const auto text = caller.get(target->host, target->port, "/status");
  if (!text) return report(text.error(), "repair");
  const auto status = nlohmann::json::parse(*text, nullptr, false);
  if (!status.is_object() || !status.contains("nodes")) return report(Error{Code::kProtocol, "what answers there is not a kraken node"});
  for (const auto& node : status["nodes"]) {
    if (!node.value("up", false)) continue;
    const auto done = post(caller, node.value("host", ""), target->port, "/ring/adopt?force=true");
    fmt::print("{}", done ? *done : done.error().detail + "\n");
  }
  return kExitOk;
}

int run(const Words& words, Output output) {
  if (words.what == "replace") return replace(words);
  if (words.what == "adopt") return adopt(words);
  const int jobs = (words.set_aside ? 1 : 0) + (words.start_again ? 1 : 0) + (words.offline ? 1 : 0);
  if (jobs > 1) {
    fmt::print(stderr, "kraken: repair: say one of --set-aside, --start-again, --offline; see `kraken repair --help`\n");
    return kExitUsage;
  }
  if (words.what.empty() && (jobs == 0 || words.offline)) {
    BlobRepairWords blobs = words.blobs;
    blobs.dry_run = words.dry_run;
    blobs.offline = words.offline;
    blobs.config = words.file;
    blobs.data = words.data;
    return repair_blobs(blobs, output);
  }
  if (words.set_aside) return set_aside(words);
  if (words.start_again) return start_again(words);
  if (words.what == "recover" && !words.file.empty()) return recover(words);
  fmt::print(stderr, "kraken: repair: `kraken repair --offline recover --config FILE --data FOLDER...`; see `kraken repair --help`\n");
  return kExitUsage;
}

}  // namespace

void add_repair(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* repair = app.add_subcommand("repair", "Blobs to where the ring wants them, now; a damaged disk; most nodes gone for good");
  repair->add_flag("--set-aside", words->set_aside, "Rename a stopped node's damaged metadata folder, so that it starts empty and the others fill it");
  repair->add_flag("--start-again", words->start_again, "Let a node start again that its disk has ended three times in a row");
  repair->add_flag("--offline", words->offline, "Work on stopped nodes' folders");
  repair->add_option("what", words->what, "replace LABEL: take the new, empty folder in place of the label's, which is gone. adopt: a new ring, without waiting. "
                                          "With --offline: recover, go on with the survivors of a quorum that is lost for good");
  repair->add_option("label", words->label, "Of replace");
  repair->add_flag("--force", words->force, "adopt: although something speaks against it");
  repair->add_option("--data", words->data, "A stopped node's metadata folder (metadata.path); recover takes all that are left; for blobs LABEL=METADATA,BLOBS");
  repair->add_option("-c,--config", words->file, "With --offline: the nodes' YAML file, for the hashstate; recover asks the missing ones whether they are really gone");
  auto* yes = repair->add_flag("--yes-lose-data", words->yes_lose_data, "recover: write it; without this it only says what would be lost");
  repair->add_flag("--dry-run", words->dry_run, "Only say it; recover's default")->excludes(yes);
  add_blob_repair_options(*repair, words->blobs);
  add_output_option(*repair, invocation);
  repair->footer(
      "Examples:\n  kraken -origin origin0 -repair\n  kraken repair --host 10.0.0.1 --dry-run\n"
      "  kraken repair --offline --config node.yaml --data origin0=/srv/a/metadata,/srv/a/blobs --data origin2=,/srv/c/blobs --apply\n  kraken repair --set-aside --data /var/lib/kraken/metadata\n"
      "  kraken repair replace origin2 --host 10.0.0.1\n"
      "  kraken repair --start-again --data /var/lib/kraken/metadata\n"
      "  kraken repair --offline recover --config node.yaml --data /var/lib/kraken/metadata --data /mnt/of-node2/metadata\n\n"
      "Of metadata nothing is ever deleted. docs/operations.md, \"Disk full\", \"Disk damaged\" and \"Quorum lost\", says when to use which.");
  repair->callback([&invocation, words] { invocation.run = [&invocation, words] { return run(*words, invocation.output); }; });
}

}  // namespace kraken::tools
