#include <cstdio>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "http/url.h"
#include "src/admin/inspect.h"
#include "storage/kv/rocksdb/open.h"
#include "tools/caller.h"
#include "tools/command.h"

namespace kraken::tools {
namespace {

using json = nlohmann::json;

constexpr std::uint16_t kAdminPort = 14002;

struct Words {
  std::string data;
  std::string host = "127.0.0.1";
  std::string family;
  std::string key;
  std::string prefix;
  std::string after;
  std::uint32_t limit = 100;
  std::uint16_t shard = 0;
  bool shard_given = false;
  std::uint64_t from = 0;
};

/// Where the answers come from: a folder or a running node. All of them are the same JSON.
class Source {
 public:
  explicit Source(const Words& words) : words_(words) {}

  Result<std::string> families() {
    if (words_.data.empty()) return remote("/inspect");
    KR_TRY(const kv::View* view, open());
    KR_TRY(const auto families, admin::count_families(*view));
    return admin::families_json(families);
  }

  Result<std::string> rows(const std::string& prefix, std::uint32_t limit) {
    if (words_.data.empty()) {
      std::string target = fmt::format("/inspect?family={}&limit={}&prefix={}&after={}", http::query_escape(words_.family), limit, http::query_escape(prefix), http::query_escape(words_.after));
      if (words_.shard_given) target += fmt::format("&shard={}", words_.shard);
      return remote(target);
    }
    KR_TRY(const kv::View* view, open());
    admin::InspectQuery query;
    KR_TRY(query.family, admin::parse_family(words_.family));
    if (words_.shard_given) query.shard = kv::ShardId(words_.shard);
    query.prefix = prefix;
    query.after_hex = words_.after;
    query.limit = limit;
    KR_TRY(const auto page, admin::inspect(*view, query));
    return admin::page_json(page);
  }

  Result<std::string> log() {
    if (words_.data.empty()) return remote(fmt::format("/inspect/log?shard={}&from={}&limit={}", words_.shard, words_.from, words_.limit));
    KR_TRY(const kv::View* view, open());
    KR_TRY(const auto entries, admin::inspect_log(*view, kv::ShardId(words_.shard), words_.from, words_.limit));
    return admin::log_json(entries);
  }

  Result<std::string> vote() {
    if (words_.data.empty()) return remote(fmt::format("/inspect/vote?shard={}", words_.shard));
    KR_TRY(const kv::View* view, open());
    KR_TRY(const auto vote, admin::inspect_vote(*view, kv::ShardId(words_.shard)));
    return admin::vote_json(vote);
  }

 private:
  Result<std::string> remote(const std::string& target) {
    KR_TRY(const Target node, parse_target(words_.host, kAdminPort));
    Caller caller;
    return caller.get(node.host, node.port, target, std::chrono::minutes(2));
  }

  Result<const kv::View*> open() {
    if (store_) return store_.get();
    std::filesystem::path folder = words_.data;
    if (!std::filesystem::exists(folder / "CURRENT")) folder /= "metadata";
    if (!std::filesystem::exists(folder / "CURRENT")) {
      return fail(Code::kNotFound, "{} holds no metadata; name the folder of metadata.path", words_.data);
    }
    KR_TRY(store_, kv::open_rocksdb(folder, kv::RocksOptions{.read_only = true}));
    return store_.get();
  }

  const Words& words_;
  std::unique_ptr<kv::Store> store_;
};

int show(const Result<std::string>& text, Output output, const std::function<int(const json&)>& table) {
  if (!text) return report(text.error(), "inspect");
  if (output == Output::kJson) {
    fmt::print("{}", *text);
    return kExitOk;
  }
  const json answer = json::parse(*text, nullptr, false);
  if (!answer.is_object()) return report(Error{Code::kProtocol, "what answers there is not a kraken node"});
  return table(answer);
}

int families_table(const json& answer) {
  std::vector<std::vector<std::string>> rows{{"FAMILY", "ROWS", "BYTES"}};
  for (const json& family : answer["families"]) {
    rows.push_back({family["family"], fmt::format("{}", family["rows"].get<std::uint64_t>()), human_bytes(family["bytes"].get<double>())});
  }
  fmt::print("{}", format_table(rows));
  return kExitOk;
}

int rows_table(const json& answer) {
  for (const json& row : answer["rows"]) fmt::print("{}\n    {}\n", row["key"].get<std::string>(), row["value"].get<std::string>());
  if (answer.value("more", false) && !answer["rows"].empty()) {
    fmt::print("... more; go on with --after {}\n", answer["rows"].back()["key_hex"].get<std::string>());
  }
  return kExitOk;
}

int one_row(const json& answer, const std::string& key) {
  for (const json& row : answer["rows"]) {
    if (row["key"].get<std::string>().ends_with(" " + key)) {
      fmt::print("{}\n    {}\n", row["key"].get<std::string>(), row["value"].get<std::string>());
      return kExitOk;
    }
  }
  return report(Error{Code::kNotFound, fmt::format("there is no {}; `kraken inspect scan` shows what there is", key)});
}

int log_table(const json& answer) {
  std::vector<std::vector<std::string>> rows{{"INDEX", "TERM", "KIND", "BYTES", "COMMAND"}};
  for (const json& entry : answer["entries"]) {
    rows.push_back({entry["index"].dump(), entry["term"].dump(), entry["kind"], entry["bytes"].dump(), entry["text"]});
  }
  fmt::print("{}", format_table(rows));
  return kExitOk;
}

int vote_table(const json& vote) {
  for (const auto& field : vote.items()) fmt::print("{:<10} {}\n", field.key(), field.value().is_string() ? field.value().get<std::string>() : field.value().dump());
  return kExitOk;
}

}  // namespace

void add_inspect(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* inspect = app.add_subcommand("inspect", "Look into a node's metadata: families, rows, a shard's log and vote");
  inspect->require_subcommand(1);
  inspect->footer(
      "Examples:\n  kraken inspect families --data /var/lib/kraken/metadata     a stopped node's, opened read-only\n"
      "  kraken inspect scan tag --prefix library/ --host 127.0.0.1   a running node's\n"
      "  kraken inspect get tag library/app:v1\n  kraken inspect log --shard 7 --limit 20\n  kraken inspect vote --shard 0");
  const auto add = [&](const char* name, const char* help, std::function<int()> run) {
    CLI::App* command = inspect->add_subcommand(name, help);
    auto* data = command->add_option("--data", words->data, "A stopped node's metadata folder");
    command->add_option("--host", words->host, "A running node; host or host:port of its admin port")->capture_default_str()->excludes(data);
    add_output_option(*command, invocation);
    command->callback([&invocation, run] { invocation.run = run; });
    return command;
  };
  const auto shard = [words](CLI::App* command, bool required) {
    auto* option = command->add_option_function<std::uint16_t>("--shard", [words](std::uint16_t number) {
      words->shard = number;
      words->shard_given = true;
    }, "Which shard; 0 is the system group");
    if (required) option->required();
  };
  add("families", "Every column family with its number of rows", [&invocation, words] {
    return show(Source(*words).families(), invocation.output, families_table);
  });
  CLI::App* scan = add("scan", "Rows of a family, decoded", [&invocation, words] {
    return show(Source(*words).rows(words->prefix, words->limit), invocation.output, rows_table);
  });
  scan->add_option("family", words->family, "tag, manifest, blob, metainfo, ref, task, peer, session, raft")->required();
  scan->add_option("--prefix", words->prefix, "Only keys that begin so, behind family and shard");
  scan->add_option("--after", words->after, "Go on behind this key, hexadecimal");
  scan->add_option("--limit", words->limit, "Rows at most")->capture_default_str();
  shard(scan, false);
  CLI::App* get = add("get", "One row of a family", [&invocation, words] {
    return show(Source(*words).rows(words->key, 10), invocation.output, [words](const json& answer) { return one_row(answer, words->key); });
  });
  get->add_option("family", words->family, "As for scan")->required();
  get->add_option("key", words->key, "The decoded key, for example library/app:v1 or sha256:<hex>")->required();
  CLI::App* log = add("log", "A shard's Raft log: index, term, kind and command of each entry", [&invocation, words] {
    return show(Source(*words).log(), invocation.output, log_table);
  });
  log->add_option("--from", words->from, "First index; 0 is the oldest there is")->capture_default_str();
  log->add_option("--limit", words->limit, "Entries at most")->capture_default_str();
  shard(log, true);
  CLI::App* vote = add("vote", "A shard's term, vote and commit index as they lie on the disk", [&invocation, words] {
    return show(Source(*words).vote(), invocation.output, vote_table);
  });
  shard(vote, true);
}

}  // namespace kraken::tools
