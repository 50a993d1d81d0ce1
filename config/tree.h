#pragma once
// A configuration file as a plain tree that remembers where each value was written. The only door to YAML.
// Errors: kInvalidArgument with file and line; kNotFound where the file is not there. Threads: plain values.

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"

namespace kraken::config {

using Environment = std::function<std::optional<std::string>(const std::string&)>;

struct Tree {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;
  std::vector<Tree> list;
  std::vector<std::pair<std::string, Tree>> map;  // in the order written; keys are distinct
  std::string file;
  int line = 0;  // from 1; 0: not from a file

  // Out of line, because `map` holds this type before it is complete.
  Tree();
  ~Tree();
  Tree(const Tree&);
  Tree(Tree&&) noexcept;
  Tree& operator=(const Tree&);
  Tree& operator=(Tree&&) noexcept;

  static Tree text(std::string value);
  const Tree* find(const std::string& key) const;
  /// The child at a dotted path, maps made on the way.
  Tree& at_path(std::string_view path);
  /// "node.yaml:12", or the file alone where there is no line.
  std::string where() const;
};

/// Reads a file and everything it extends, the base underneath; ${NAME} is replaced in keys and values.
Result<Tree> read_tree(const std::filesystem::path& file, const Environment& environment);
/// One YAML text, without `extends`; `name` stands for the file in errors.
Result<Tree> parse_tree(const std::string& text, const std::string& name, const Environment& environment);
/// Lays `over` on `base`: maps merge key by key, lists and scalars replace; an empty value replaces nothing.
void overlay(Tree& base, Tree over);
/// The tree as YAML.
std::string to_yaml(const Tree& tree);

/// ${NAME}, ${NAME:-default}, and $${ for a literal ${.
Result<std::string> substitute(std::string_view text, const Environment& environment);

}  // namespace kraken::config
