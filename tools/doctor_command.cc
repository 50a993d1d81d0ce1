// kraken doctor: looks at what usually goes wrong, before it does, and says what to do about each.

#include <cstdio>
#include <filesystem>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "config/values.h"
#include "src/base/file.h"
#include "src/net/dial.h"
#include "src/net/listen.h"
#include "storage/kv/rocksdb/wal_check.h"
#include "tools/caller.h"
#include "tools/command.h"

namespace kraken::tools {
namespace {

namespace fs = std::filesystem;

constexpr rlim_t kDescriptorsWanted = 16'384;

struct Finding {
  enum class Kind { kGood, kNote, kBad };
  Kind kind = Kind::kGood;
  std::string what;
  std::string text;
};

class Doctor {
 public:
  explicit Doctor(config::NodeConfig config) : config_(std::move(config)) {}

  std::vector<Finding> examine() {
    label();
    folder("metadata.path", config_.metadata.path, config_.metadata.reserve);
    folder("blobs.path", config_.blobs.path, config_.blobs.reserve);
    same_file_system();
    logs();
    descriptors();
    running_ = answers();
    ports();
    members();
    return std::move(findings_);
  }

 private:
  void good(std::string what, std::string text) { findings_.push_back({Finding::Kind::kGood, std::move(what), std::move(text)}); }
  void note(std::string what, std::string text) { findings_.push_back({Finding::Kind::kNote, std::move(what), std::move(text)}); }
  void bad(std::string what, std::string text) { findings_.push_back({Finding::Kind::kBad, std::move(what), std::move(text)}); }

  void label() {
    const auto own = config::own_label(config_, config::host_identity());
    own ? good("label", "this node is " + *own) : bad("label", own.error().detail);
  }

  /// The folder, or the nearest one above it that is there.
  static fs::path existing(fs::path path) {
    while (!path.empty() && !fs::exists(path) && path.has_parent_path() && path != path.parent_path()) path = path.parent_path();
    return path;
  }

  void folder(const std::string& key, const std::string& path, std::uint64_t reserve) {
    const fs::path there = existing(path);
    if (::access(there.c_str(), W_OK | X_OK) != 0) {
      return bad(key, fmt::format("{} cannot be written by this user; chown it, or run as its owner", there.string()));
    }
    const auto space = file::disk_space(there);
    if (!space) return bad(key, space.error().detail);
    const std::string free = fmt::format("{} free of {}", human_bytes(static_cast<double>(space->available_bytes)), human_bytes(static_cast<double>(space->total_bytes)));
    if (space->available_bytes < reserve) {
      return bad(key, fmt::format("{}: {}, less than the reserve of {}; free some, or lower the reserve", path, free, config::format_bytes(reserve)));
    }
    good(key, fmt::format("{}: {}", path, free));
  }

  void same_file_system() {
    struct stat blobs {};
    struct stat uploads {};
    if (::stat(existing(config_.blobs.path).c_str(), &blobs) != 0 || ::stat(existing(config_.uploads_path()).c_str(), &uploads) != 0) return;
    if (blobs.st_dev != uploads.st_dev) {
      bad("blobs.uploads_path", fmt::format("{} is on another file system than {}; put both on one, since an upload becomes a blob by a rename", config_.uploads_path(), config_.blobs.path));
    }
  }

  void logs() {
    if (!fs::exists(fs::path(config_.metadata.path) / "CURRENT")) return note("store", "there is none yet: the node will be a new one");
    const auto checked = kv::check_wals(config_.metadata.path);
    checked ? good("store", "its logs are whole") : bad("store", checked.error().detail);
  }

  void descriptors() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    if (limit.rlim_max < kDescriptorsWanted) {
      return note("descriptors", fmt::format("at most {} open files; raise it to {} (systemd: LimitNOFILE) before there are thousands of clients", limit.rlim_max, kDescriptorsWanted));
    }
    good("descriptors", fmt::format("up to {} open files", limit.rlim_max));
  }

  bool answers() {
    const auto status = caller_.get(config_.node.host, config_.admin.port, "/status?scope=node", std::chrono::seconds(3));
    if (!status) return false;
    const auto json = nlohmann::json::parse(*status, nullptr, false);
    const std::string waits = json.is_object() ? json.value("not_ready", "") : "";
    waits.empty() ? good("node", "it runs and is ready") : note("node", "it runs: " + waits);
    return true;
  }

  void ports() {
    if (running_) return;  // they are its own
    bool all = true;
    for (const std::uint16_t port : {config_.proxy.port, config_.origin.port, config_.origin.peer_port, config_.tracker.port, config_.build_index.port,
                                     config_.raft.port, config_.admin.port, config_.proxy.balanced_port, config_.tracker.balanced_port}) {
      if (port == 0) continue;
      if (const auto bound = net::listen(config_.node.host, port); !bound) {
        bad("ports", bound.error().detail);
        all = false;
      }
    }
    if (all) good("ports", fmt::format("all are free on {}", config_.node.host));
  }

  void members() {
    const auto all = config::members(config_);
    if (!all) return;
    const auto own = config::own_label(config_, config::host_identity());
    for (const config::Member& member : *all) {
      if (own && member.label == *own) continue;
      const auto status = caller_.get(member.host, config_.admin.port, "/livez", std::chrono::seconds(3));
      status ? good("node " + member.label, member.host + " answers")
             : note("node " + member.label, fmt::format("{} does not answer on {}: {}; start it, or open the port between the nodes", member.host, config_.admin.port, status.error().detail));
    }
  }

  const config::NodeConfig config_;
  Caller caller_;
  bool running_ = false;
  std::vector<Finding> findings_;
};

int examine(const std::string& file, Output output) {
  config::LoadOptions options;
  options.file = file;
  auto loaded = config::load_node(options);
  if (!loaded) return report(loaded.error()), kExitConfig;
  std::vector<Finding> findings = Doctor(loaded->config).examine();
  for (const std::string& warning : loaded->warnings) findings.push_back({Finding::Kind::kNote, "configuration", warning});
  bool sick = false;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    sick = sick || finding.kind == Finding::Kind::kBad;
    const char* word = finding.kind == Finding::Kind::kGood ? "good" : finding.kind == Finding::Kind::kNote ? "note" : "BAD";
    if (output == Output::kJson) {
      rows.push_back({{"kind", word}, {"what", finding.what}, {"text", finding.text}});
    } else {
      fmt::print("{:<5} {:<18} {}\n", word, finding.what, finding.text);
    }
  }
  if (output == Output::kJson) fmt::print("{}\n", rows.dump(2));
  return sick ? kExitFailed : kExitOk;
}

}  // namespace

void add_doctor(CLI::App& app, Invocation& invocation) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("doctor", "Look for what usually goes wrong: folders, disks, ports, other nodes");
  command->add_option("-c,--config", *file, "A node's file")->required();
  add_output_option(*command, invocation);
  command->footer("Example:\n  kraken doctor --config /etc/kraken/node.yaml\n\nChanges nothing. Exit code 1 if something is bad.");
  command->callback([&invocation, file] { invocation.run = [&invocation, file] { return examine(*file, invocation.output); }; });
}

}  // namespace kraken::tools
