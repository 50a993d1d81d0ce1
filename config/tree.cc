#include "config/tree.h"

#include <algorithm>
#include <cctype>

#include <yaml-cpp/yaml.h>

#include "src/base/file.h"

namespace kraken::config {
namespace {

constexpr std::size_t kFileBytesMax = 4 << 20;
constexpr std::size_t kNodesMax = 100'000;  // aliases may multiply a small file
constexpr int kDepthMax = 64;

class Builder {
 public:
  Builder(std::string file, const Environment& environment) : file_(std::move(file)), environment_(environment) {}

  Result<Tree> build(const YAML::Node& node, int depth) {
    Tree tree;
    tree.file = file_;
    tree.line = node.Mark().line + 1;
    if (++nodes_ > kNodesMax || depth > kDepthMax) {
      return fail(Code::kInvalidArgument, "{}: the file has too many values or is nested too deep", tree.where());
    }
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null: return tree;
      case YAML::NodeType::Scalar: {
        tree.kind = Tree::Kind::kScalar;
        KR_TRY(tree.scalar, replaced(node.Scalar(), tree));
        return tree;
      }
      case YAML::NodeType::Sequence:
        tree.kind = Tree::Kind::kList;
        for (const auto& item : node) {
          KR_TRY(Tree child, build(item, depth + 1));
          tree.list.push_back(std::move(child));
        }
        return tree;
      case YAML::NodeType::Map: return build_map(node, std::move(tree), depth);
    }
    return tree;
  }

 private:
  Result<std::string> replaced(const std::string& text, const Tree& at) {
    auto out = substitute(text, environment_);
    if (!out) return std::unexpected(std::move(out).error().within(at.where()));
    return out;
  }

  Result<Tree> build_map(const YAML::Node& node, Tree tree, int depth) {
    tree.kind = Tree::Kind::kMap;
    for (const auto& item : node) {
      if (!item.first.IsScalar()) {
        return fail(Code::kInvalidArgument, "{}:{}: a key must be a plain word", file_, item.first.Mark().line + 1);
      }
      KR_TRY(std::string key, replaced(item.first.Scalar(), tree));
      KR_TRY(Tree child, build(item.second, depth + 1));
      child.line = item.first.Mark().line + 1;
      if (const Tree* first = tree.find(key); first != nullptr) {
        return fail(Code::kInvalidArgument, "{}: the key \"{}\" is given twice, first on line {}; keep one of them",
                    child.where(), key, first->line);
      }
      tree.map.emplace_back(std::move(key), std::move(child));
    }
    return tree;
  }

  std::string file_;
  const Environment& environment_;
  std::size_t nodes_ = 0;
};

Result<Tree> read_chain(const std::filesystem::path& file, const Environment& environment,
                        std::vector<std::filesystem::path>& chain) {
  std::error_code ec;
  const std::filesystem::path real = std::filesystem::weakly_canonical(file, ec);
  if (std::find(chain.begin(), chain.end(), real) != chain.end()) {
    return fail(Code::kInvalidArgument, "{} extends itself by way of {}; take one `extends` out", real.string(),
                chain.back().string());
  }
  chain.push_back(real);
  auto text = file::read_all(file, kFileBytesMax);
  if (!text) {
    if (text.error().code == Code::kNotFound) {
      return fail(Code::kNotFound, "there is no configuration file {}; name one with --config", file.string());
    }
    return std::unexpected(std::move(text).error());
  }
  KR_TRY(Tree tree, parse_tree(*text, file.string(), environment));
  if (tree.kind == Tree::Kind::kNull) tree.kind = Tree::Kind::kMap;
  if (tree.kind != Tree::Kind::kMap) {
    return fail(Code::kInvalidArgument, "{}: a configuration is a map of keys, for example `node:`", tree.where());
  }
  const auto extends = std::find_if(tree.map.begin(), tree.map.end(), [](const auto& kv) { return kv.first == "extends"; });
  if (extends == tree.map.end()) return tree;
  if (extends->second.kind != Tree::Kind::kScalar) {
    return fail(Code::kInvalidArgument, "{}: `extends` names one file", extends->second.where());
  }
  const std::filesystem::path base_file = file.parent_path() / extends->second.scalar;
  tree.map.erase(extends);
  KR_TRY(Tree base, read_chain(base_file, environment, chain));
  overlay(base, std::move(tree));
  return base;
}

bool is_plain(const std::string& text) {
  if (text.empty()) return false;
  static const std::vector<std::string> kWords{"true", "false", "null", "yes", "no", "on", "off", "~"};
  std::string lower = text;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (std::find(kWords.begin(), kWords.end(), lower) != kWords.end()) return lower == "true" || lower == "false";
  if (text.front() == ' ' || text.back() == ' ' || text.back() == ':') return false;
  if (std::string_view("-?:,[]{}#&*!|>'\"%@`").find(text.front()) != std::string_view::npos) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c != '#' && c != '$' && c != '"'; }) &&
         text.find(": ") == std::string::npos;
}

std::string scalar_yaml(const std::string& text) {
  if (is_plain(text)) return text;
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || c == '\\') out += '\\';
    if (c == '$' && text.compare(i, 2, "${") == 0) out += '$';  // read back, $${ is a literal ${
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

void emit(const Tree& tree, int indent, std::string& out) {
  const std::string space(static_cast<std::size_t>(indent) * 2, ' ');
  for (const auto& [key, value] : tree.map) {
    out += space + scalar_yaml(key) + ":";
    switch (value.kind) {
      case Tree::Kind::kNull: out += " \"\"\n"; break;
      case Tree::Kind::kScalar: out += " " + scalar_yaml(value.scalar) + "\n"; break;
      case Tree::Kind::kList: {
        out += " [";
        for (std::size_t i = 0; i < value.list.size(); ++i) {
          if (i > 0) out += ", ";
          out += scalar_yaml(value.list[i].scalar);
        }
        out += "]\n";
        break;
      }
      case Tree::Kind::kMap:
        if (value.map.empty()) {
          out += " {}\n";
        } else {
          out += "\n";
          emit(value, indent + 1, out);
        }
        break;
    }
  }
}

}  // namespace

Tree::Tree() = default;
Tree::~Tree() = default;
Tree::Tree(const Tree&) = default;
Tree::Tree(Tree&&) noexcept = default;
Tree& Tree::operator=(const Tree&) = default;
Tree& Tree::operator=(Tree&&) noexcept = default;

Tree Tree::text(std::string value) {
  Tree tree;
  tree.kind = Kind::kScalar;
  tree.scalar = std::move(value);
  return tree;
}

const Tree* Tree::find(const std::string& key) const {
  const auto it = std::find_if(map.begin(), map.end(), [&](const auto& kv) { return kv.first == key; });
  return it == map.end() ? nullptr : &it->second;
}

Tree& Tree::at_path(std::string_view path) {
  const std::size_t dot = path.find('.');
  const std::string key(path.substr(0, dot));
  kind = Kind::kMap;
  auto it = std::find_if(map.begin(), map.end(), [&](const auto& kv) { return kv.first == key; });
  if (it == map.end()) it = map.insert(map.end(), {key, Tree{}});
  if (dot == std::string_view::npos) return it->second;
  return it->second.at_path(path.substr(dot + 1));
}

std::string Tree::where() const { return line > 0 ? fmt::format("{}:{}", file, line) : file; }

Result<Tree> parse_tree(const std::string& text, const std::string& name, const Environment& environment) {
  try {
    const YAML::Node node = YAML::Load(text);
    return Builder(name, environment).build(node, 0);
  } catch (const YAML::Exception& e) {
    return fail(Code::kInvalidArgument, "{}:{}: this is not YAML: {}", name, e.mark.line + 1, e.msg);
  }
}

Result<Tree> read_tree(const std::filesystem::path& file, const Environment& environment) {
  std::vector<std::filesystem::path> chain;
  return read_chain(file, environment, chain);
}

void overlay(Tree& base, Tree over) {
  if (over.kind == Tree::Kind::kNull) return;
  if (base.kind != Tree::Kind::kMap || over.kind != Tree::Kind::kMap) {
    base = std::move(over);
    return;
  }
  for (auto& [key, value] : over.map) {
    const auto it = std::find_if(base.map.begin(), base.map.end(), [&](const auto& kv) { return kv.first == key; });
    if (it == base.map.end()) {
      base.map.emplace_back(key, std::move(value));
    } else {
      overlay(it->second, std::move(value));
    }
  }
}

std::string to_yaml(const Tree& tree) {
  std::string out;
  emit(tree, 0, out);
  return out;
}

Result<std::string> substitute(std::string_view text, const Environment& environment) {
  std::string out;
  while (!text.empty()) {
    const std::size_t dollar = text.find('$');
    out += text.substr(0, dollar);
    if (dollar == std::string_view::npos) break;
    text.remove_prefix(dollar);
    if (text.starts_with("$${")) {
      out += "${";
      text.remove_prefix(3);
      continue;
    }
    if (!text.starts_with("${")) {
      out += '$';
      text.remove_prefix(1);
      continue;
    }
    const std::size_t close = text.find('}');
    if (close == std::string_view::npos) {
      return fail(Code::kInvalidArgument, "\"{}\" has ${{ without a closing brace; write $${{ for a literal ${{", text);
    }
    const std::string_view inside = text.substr(2, close - 2);
    const std::size_t colon = inside.find(":-");
    const std::string name(inside.substr(0, colon));
    const auto value = environment(name);
    // As in a shell, the default also stands for an empty value.
    if (value && (!value->empty() || colon == std::string_view::npos)) {
      out += *value;
    } else if (colon != std::string_view::npos) {
      out += inside.substr(colon + 2);
    } else {
      return fail(Code::kInvalidArgument,
                  "the environment has no {0}; set it, or give a default as in ${{{0}:-value}}", name);
    }
    text.remove_prefix(close + 1);
  }
  return out;
}

}  // namespace kraken::config
