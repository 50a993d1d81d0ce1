#include "config/load.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdlib>
#include <set>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include "config/options.h"
#include "config/values.h"

namespace kraken::config {
namespace {

constexpr std::size_t kProblemsMax = 20;
constexpr std::uint16_t kStockOriginPort = 15002;

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

bool pattern_matches(std::string_view pattern, std::string_view path) {
  if (pattern == path) return true;
  if (!pattern.starts_with("*.")) return false;
  const std::size_t dot = path.find('.');
  return dot != std::string_view::npos && path.substr(dot + 1) == pattern.substr(2);
}

const ForeignKey* foreign(std::string_view path) {
  for (const ForeignKey& key : foreign_keys()) {
    if (pattern_matches(key.pattern, path)) return &key;
  }
  return nullptr;
}

/// Walks a file's tree and sets what the table knows.
template <class C>
class Setter {
 public:
  Setter(const std::vector<Option<C>>& options, C& config) : options_(options), config_(config) {}

  void walk(const std::string& prefix, const Tree& tree) {
    for (const auto& [key, value] : tree.map) {
      if (problems_.size() >= kProblemsMax) return;
      visit(prefix.empty() ? key : prefix + "." + key, key, prefix, value);
    }
  }
  std::vector<std::string> problems_;
  std::vector<std::string> warnings_;

 private:
  void visit(const std::string& path, const std::string& key, const std::string& prefix, const Tree& value) {
    for (const Option<C>& option : options_) {
      if (option.path != path) continue;
      if (value.kind == Tree::Kind::kNull) return;  // an empty value leaves the default
      if (auto set = option.set(config_, value); !set) {
        problems_.push_back(fmt::format("{}: {} {}", value.where(), path, set.error().detail));
      }
      return;
    }
    const std::string below = path + ".";
    const bool section = std::any_of(options_.begin(), options_.end(), [&](const auto& o) { return o.path.starts_with(below); });
    if (section) {
      if (value.kind == Tree::Kind::kMap) {
        walk(path, value);
      } else if (value.kind != Tree::Kind::kNull) {
        problems_.push_back(fmt::format("{}: {} is a section; its keys go below it", value.where(), path));
      }
      return;
    }
    if (const ForeignKey* known = foreign(path); known != nullptr) {
      auto& list = known->ignored ? warnings_ : problems_;
      list.push_back(fmt::format("{}: {}{}: {}", value.where(), path, known->ignored ? " is ignored" : "", known->reason));
      return;
    }
    problems_.push_back(unknown(path, key, prefix, value));
  }

  std::string unknown(const std::string& path, const std::string& key, const std::string& prefix, const Tree& value) {
    std::string nearest;
    std::size_t best = std::max<std::size_t>(2, key.size() / 3) + 1;
    const std::string start = prefix.empty() ? "" : prefix + ".";
    for (const Option<C>& option : options_) {
      if (!option.path.starts_with(start)) continue;
      const std::string_view rest = std::string_view(option.path).substr(start.size());
      const std::string_view sibling = rest.substr(0, rest.find('.'));
      const std::size_t distance = edit_distance(key, sibling);
      if (distance < best) {
        best = distance;
        nearest = start + std::string(sibling);
      }
    }
    if (nearest.empty()) {  // the right word in the wrong place
      for (const Option<C>& option : options_) {
        const std::string& p = option.path;
        if (p.ends_with("." + key) || p.find("." + key + ".") != std::string::npos) {
          nearest = p.substr(0, p.find("." + key) + 1 + key.size());
          break;
        }
      }
    }
    const std::string hint = nearest.empty() ? "`kraken config print` shows all that there are"
                                             : fmt::format("did you mean {}?", nearest);
    return fmt::format("{}: unknown key {}; {}", value.where(), path, hint);
  }

  const std::vector<Option<C>>& options_;
  C& config_;
};

template <class C>
Result<Loaded<C>> load(const LoadOptions& options, const std::vector<Option<C>>& table) {
  const Environment environment = options.environment ? options.environment : Environment(process_environment);
  KR_TRY(Tree tree, read_tree(options.file, environment));
  if (options.secrets) {
    KR_TRY(Tree secrets, read_tree(*options.secrets, environment));
    overlay(tree, std::move(secrets));
  }
  for (const auto& [path, text] : options.overrides) {
    KR_TRY(Tree value, parse_tree(text, "command line", environment));
    value.line = 0;
    Tree wrapped;
    wrapped.at_path(path) = std::move(value);
    overlay(tree, std::move(wrapped));
  }
  Loaded<C> loaded;
  Setter<C> setter(table, loaded.config);
  setter.walk("", tree);
  if (!setter.problems_.empty()) {
    return fail(Code::kInvalidArgument, "{}", fmt::join(setter.problems_, "\n"));
  }
  if (auto ok = check(loaded.config); !ok) {
    return std::unexpected(std::move(ok).error().within(options.file.string()));
  }
  loaded.warnings = std::move(setter.warnings_);
  return loaded;
}

Result<> check_bind(const std::string& key, const std::string& host, const Tls& tls) {
  if (host.empty()) return fail(Code::kInvalidArgument, "{} is empty; name the address to bind, for example 127.0.0.1", key);
  if (host.find_first_of("/ ") != std::string::npos || (host.find(':') != std::string::npos && host.find(':') == host.rfind(':'))) {
    return fail(Code::kInvalidArgument, "{} is \"{}\"; it is a name or an address alone, without scheme and port", key, host);
  }
  if (!is_loopback(host) && !tls.server.disabled) {
    return fail(Code::kInvalidArgument,
                "{} is {}, which other machines reach, and there is no TLS in this version: say tls.server.disabled: true "
                "if this network may see and change all that passes, or bind 127.0.0.1",
                key, host);
  }
  return {};
}

Result<> check_ports(const std::vector<std::pair<std::string_view, std::uint16_t>>& ports) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (ports[i].second != 0 && ports[i].second == ports[j].second) {
        return fail(Code::kInvalidArgument, "{} and {} are both {}; give each a port of its own", ports[j].first,
                    ports[i].first, ports[i].second);
      }
    }
  }
  return {};
}

Result<> check_hashstate(const std::vector<HashstateEntry>& hashstate) {
  for (std::size_t i = 0; i < hashstate.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (hashstate[i].label == hashstate[j].label) {
        return fail(Code::kInvalidArgument,
                    "hashstate gives the label {} to both {} and {}; a label belongs to one host, so rename one of them",
                    hashstate[i].label, hashstate[j].host, hashstate[i].host);
      }
    }
  }
  return {};
}

/// "host", "host:port", "[::1]:port".
Result<std::pair<std::string, std::uint16_t>> split_host_port(const std::string& text, std::uint16_t default_port) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || (text.find(':') != colon && !text.starts_with("["))) return std::pair(text, default_port);
  std::string host = text.substr(0, colon);
  if (host.starts_with("[") && host.ends_with("]")) host = host.substr(1, host.size() - 2);
  std::uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [at, ec] = std::from_chars(text.data() + colon + 1, end, port);
  if (host.empty() || ec != std::errc{} || at != end || port == 0) {
    return fail(Code::kInvalidArgument, "\"{}\" is not host:port", text);
  }
  return std::pair(std::move(host), port);
}

}  // namespace

std::string NodeConfig::uploads_path() const {
  if (!blobs.uploads_path.empty()) return blobs.uploads_path;
  const std::filesystem::path folder(blobs.path);
  return ((folder.has_filename() ? folder : folder.parent_path()).parent_path() / "uploads").string();
}

std::string AgentConfig::download_dir() const {
  return store.download_dir.empty() ? (std::filesystem::path(store.path) / "download").string() : store.download_dir;
}

std::string AgentConfig::cache_dir() const {
  return store.cache_dir.empty() ? (std::filesystem::path(store.path) / "cache").string() : store.cache_dir;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

Result<> check(const NodeConfig& config) {
  KR_CHECK(check_bind("node.host", config.node.host, config.tls));
  KR_CHECK(check_hashstate(config.hashstate));
  KR_CHECK(check_ports({{"proxy.port", config.proxy.port},
                        {"proxy.balanced_port", config.proxy.balanced_port},
                        {"origin.port", config.origin.port},
                        {"origin.peer_port", config.origin.peer_port},
                        {"tracker.port", config.tracker.port},
                        {"tracker.balanced_port", config.tracker.balanced_port},
                        {"build_index.port", config.build_index.port},
                        {"raft.port", config.raft.port},
                        {"admin.port", config.admin.port}}));
  if (!std::has_single_bit(config.raft.shards)) {
    return fail(Code::kInvalidArgument, "raft.shards is {}; it is a power of two, for example 128", config.raft.shards);
  }
  if (config.raft.election_max <= config.raft.election_min) {
    return fail(Code::kInvalidArgument, "raft.election_max ({}) must be longer than raft.election_min ({})",
                format_duration(config.raft.election_max), format_duration(config.raft.election_min));
  }
  if (config.raft.election_min < 3 * config.raft.beat) {
    return fail(Code::kInvalidArgument, "raft.election_min ({}) must be at least three beats of {}",
                format_duration(config.raft.election_min), format_duration(config.raft.beat));
  }
  if (!config.metainfogen.piece_lengths.contains(0)) {
    return fail(Code::kInvalidArgument, "metainfogen.piece_lengths has no entry for 0; give one, for example 0: 4MB");
  }
  if (config.metadata.path.empty() || config.blobs.path.empty()) {
    return fail(Code::kInvalidArgument, "metadata.path and blobs.path each name a folder");
  }
  const auto folder = [](const std::string& path) { return (std::filesystem::path(path) / "").lexically_normal(); };
  if (folder(config.metadata.path) == folder(config.blobs.path) || folder(config.uploads_path()) == folder(config.blobs.path) ||
      folder(config.uploads_path()) == folder(config.metadata.path)) {
    return fail(Code::kInvalidArgument, "metadata.path, blobs.path and blobs.uploads_path must be three different folders");
  }
  KR_CHECK(members(config));
  return {};
}

Result<> check(const AgentConfig& config) {
  KR_CHECK(check_bind("agent.host", config.agent.host, config.tls));
  KR_CHECK(check_ports({{"agent.registry_port", config.agent.registry_port},
                        {"agent.peer_port", config.agent.peer_port},
                        {"agent.server_port", config.agent.server_port}}));
  const bool cluster = !config.cluster.hosts.empty() || !config.cluster.dns.empty() || !config.cluster.members.empty();
  if (!cluster && (config.tracker.hosts.empty() || config.build_index.hosts.empty())) {
    return fail(Code::kInvalidArgument,
                "the agent does not know its cluster; set cluster.hosts to one or more nodes, for example [10.0.0.1, 10.0.0.2]");
  }
  if (config.download_dir() == config.cache_dir()) {
    return fail(Code::kInvalidArgument, "store.download_dir and store.cache_dir must be two different folders");
  }
  return {};
}

Result<Loaded<NodeConfig>> load_node(const LoadOptions& options) { return load<NodeConfig>(options, node_options()); }

Result<Loaded<AgentConfig>> load_agent(const LoadOptions& options) { return load<AgentConfig>(options, agent_options()); }

Result<std::vector<Member>> members(const NodeConfig& config) {
  std::vector<Member> out;
  if (!config.hashstate.empty()) {
    for (const HashstateEntry& node : config.hashstate) out.push_back({node.label, node.host, node.weight});
  } else if (!config.cluster.members.empty()) {
    for (const std::string& text : config.cluster.members) {
      auto parts = split_host_port(text, kStockOriginPort);
      if (!parts) return std::unexpected(std::move(parts).error().within("cluster.static"));
      const std::string label = text.find(':') == std::string::npos ? fmt::format("{}:{}", text, parts->second) : text;
      out.push_back({label, parts->first, 100});
    }
  } else {
    const std::string label = config.node.label.empty() ? fmt::format("{}:{}", config.node.host, config.origin.port) : config.node.label;
    out.push_back({label, config.node.host, 100});
  }
  std::sort(out.begin(), out.end(), [](const Member& a, const Member& b) { return a.label < b.label; });
  const auto twice = std::adjacent_find(out.begin(), out.end(), [](const Member& a, const Member& b) { return a.label == b.label; });
  if (twice != out.end()) return fail(Code::kInvalidArgument, "cluster.static has {} twice; take one out", twice->label);
  return out;
}

HostIdentity host_identity() {
  HostIdentity identity;
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) == 0) identity.hostname = name.data();
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return identity;
  for (const ifaddrs* it = list; it != nullptr; it = it->ifa_next) {
    if (it->ifa_addr == nullptr) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* address = nullptr;
    if (it->ifa_addr->sa_family == AF_INET) {
      address = &reinterpret_cast<const sockaddr_in*>(it->ifa_addr)->sin_addr;
    } else if (it->ifa_addr->sa_family == AF_INET6) {
      address = &reinterpret_cast<const sockaddr_in6*>(it->ifa_addr)->sin6_addr;
    } else {
      continue;
    }
    if (::inet_ntop(it->ifa_addr->sa_family, address, text.data(), text.size()) != nullptr) identity.addresses.emplace_back(text.data());
  }
  ::freeifaddrs(list);
  return identity;
}

Result<std::string> own_label(const NodeConfig& config, const HostIdentity& identity) {
  KR_TRY(const std::vector<Member> all, members(config));
  std::vector<std::string> labels;
  for (const Member& member : all) labels.push_back(member.label);
  if (!config.node.label.empty()) {
    if (std::find(labels.begin(), labels.end(), config.node.label) != labels.end()) return config.node.label;
    return fail(Code::kInvalidArgument, "node.label is {}, which no host of the hashstate has; it has {}", config.node.label,
                fmt::join(labels, ", "));
  }
  std::vector<std::string> addresses = identity.addresses;
  const std::array<std::vector<std::string>, 3> stages{std::vector{config.node.host}, std::vector{identity.hostname}, addresses};
  for (const std::vector<std::string>& names : stages) {
    std::vector<std::string> found;
    for (const Member& member : all) {
      if (std::find(names.begin(), names.end(), member.host) != names.end()) found.push_back(member.label);
    }
    if (found.size() == 1) return found.front();
    if (found.size() > 1) {
      return fail(Code::kInvalidArgument, "this machine could be any of {}; set node.label to the one it is", fmt::join(found, ", "));
    }
  }
  return fail(Code::kInvalidArgument,
              "no host of the hashstate is this machine (node.host {}, hostname {}); add it, or set node.label to one of {}",
              config.node.host, identity.hostname, fmt::join(labels, ", "));
}

}  // namespace kraken::config
