#pragma once
// What the subcommands share: exit codes, the output format, and how a failure is told. One file a subcommand; each adds
// itself to the parser and leaves in `Invocation::run` what is to be done once the words are understood.

#include <functional>
#include <string>
#include <vector>

#include "src/base/error.h"

namespace CLI {
class App;
}

namespace kraken::tools {

inline constexpr const char* kVersion = "0.1.0";

/// Documented in `kraken --help`; scripts branch on them, so they do not change.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,         // it was tried and did not succeed; standard error says why and what to do
  kExitUsage = 2,          // the words on the command line make no sense
  kExitConfig = 3,         // the configuration is refused
  kExitUnavailable = 4,    // nothing answers there, or no quorum: trying again may help
  kExitNotFound = 5,       // what was asked for does not exist
  kExitDamaged = 6,        // data on the disk or from the network is not what it must be
  // 70 (kExitDisk of src/base/fatal.h): a node's disk failed while it ran; the last line says which file and why
};

int exit_code_of(const Error& error);

/// One sentence on standard error: "kraken: <what>: <detail>".
int report(const Error& error, std::string_view what = "");

enum class Output { kTable, kJson };

struct Invocation {
  Output output = Output::kTable;
  std::function<int()> run;
};

/// Every subcommand, in the order of `kraken --help`.
void add_commands(CLI::App& app, Invocation& invocation);

void add_node(CLI::App& app, Invocation& invocation);
void add_agent(CLI::App& app, Invocation& invocation);
void add_status(CLI::App& app, Invocation& invocation);
void add_push(CLI::App& app, Invocation& invocation);
void add_pull(CLI::App& app, Invocation& invocation);
void add_inspect(CLI::App& app, Invocation& invocation);
void add_repair(CLI::App& app, Invocation& invocation);
void add_ring(CLI::App& app, Invocation& invocation);
void add_config(CLI::App& app, Invocation& invocation);
void add_doctor(CLI::App& app, Invocation& invocation);
void add_testfs(CLI::App& app, Invocation& invocation);

/// -o table|json on a subcommand.
void add_output_option(CLI::App& command, Invocation& invocation);

/// Single-dash words, as the operational guide writes them (`-origin origin0 -repair`), become double-dash words; short
/// options and their values (`-o json`, `-ojson`) stay. `shorts`: the letters that are short options.
std::vector<std::string> rewrite_words(std::vector<std::string> words, std::string_view shorts);

/// `--origin origin0 --repair`, without a subcommand, as `repair --origin origin0`. Takes rewritten words.
std::vector<std::string> repair_words(std::vector<std::string> words);

/// Rows of text with columns aligned; the first row is the head.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

/// "1.4 GB", "512 B"; powers of 1024 as in the configuration.
std::string human_bytes(double bytes);
/// "3d 4h", "2.5 s", "14 ms".
std::string human_duration(double seconds);

}  // namespace kraken::tools
