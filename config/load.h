#pragma once
// From YAML to a checked configuration. One file a process; `extends: other.yaml` (relative to the file that says it,
// cycles refused) puts another underneath; maps merge, lists and scalars replace; a secrets file goes on top, then the
// `overrides` of the command line. In any scalar ${NAME} is the environment's NAME (an error if it is unset) and
// ${NAME:-text} has a default; $${ is a literal ${.
// Errors: kInvalidArgument, one sentence that names the key's path, file and line, and what to do; kNotFound for a file.
// Threads: any; may block (reads files).

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "src/base/error.h"

namespace kraken::config {

struct LoadOptions {
  std::filesystem::path file;
  std::optional<std::filesystem::path> secrets;
  std::vector<std::pair<std::string, std::string>> overrides;  // key path -> YAML text, e.g. {"node.host", "127.0.0.2"}
  std::function<std::optional<std::string>(const std::string&)> environment;  // empty: the process's own
};

template <class C>
struct Loaded {
  C config;
  std::vector<std::string> warnings;  // stock keys that mean nothing here, each with its file and line
};

Result<Loaded<NodeConfig>> load_node(const LoadOptions& options);
Result<Loaded<AgentConfig>> load_agent(const LoadOptions& options);

/// Checks that span several keys; load_* has run them.
Result<> check(const NodeConfig& config);
Result<> check(const AgentConfig& config);

/// Whether `host` names only this machine: localhost, 127.0.0.0/8 or ::1.
bool is_loopback(const std::string& host);

struct Member {
  std::string label;
  std::string host;
  std::uint32_t weight = 100;
  friend bool operator==(const Member&, const Member&) = default;
};

/// The cluster's nodes, in order of label: the hashstate's, else those of cluster.static (label "host:port" and weight
/// 100, as stock has it), else this node alone.
Result<std::vector<Member>> members(const NodeConfig& config);

/// What this machine answers to. `addresses` are those of its interfaces, in text.
struct HostIdentity {
  std::string hostname;
  std::vector<std::string> addresses;
};
HostIdentity host_identity();

/// This node's own label: node.label, else the one member whose host is node.host, else the hostname, else one of the
/// machine's addresses. None or two is an error that says which key to set.
Result<std::string> own_label(const NodeConfig& config, const HostIdentity& identity);

/// The YAML of a whole configuration, defaults included, in the table's order; secrets are shown as "***".
std::string print(const NodeConfig& config);
std::string print(const AgentConfig& config);

/// docs/reference/config.md.
std::string reference_page();
/// JSON schema (draft 2020-12) of a node's or an agent's file.
std::string node_schema();
std::string agent_schema();

}  // namespace kraken::config
