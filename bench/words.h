#pragma once
// Keys as words of the command line: {i} in a text is a counter below `keys`, {r} that counter modulo `groups`, so that
// "bench/r{r}:t{i}" spreads its keys over `groups` repositories; {n} is one of `names`, in turn; {v} is
// one of `values`, another one each time the counter has been through all keys, so that every write of a key changes it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace kraken::bench {

struct Keys {
  std::uint64_t keys = 1;
  std::uint64_t groups = 1;
  std::vector<std::string> names;
  std::vector<std::string> values;
};

void add_key_options(CLI::App& app, Keys& keys);
std::string filled(std::string_view text, std::uint64_t counter, const Keys& keys);

}  // namespace kraken::bench
