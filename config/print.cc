#include <string>

#include <nlohmann/json.hpp>

#include "config/load.h"
#include "config/options.h"

namespace kraken::config {
namespace {

template <class C>
std::string print_all(const C& config, const std::vector<Option<C>>& options) {
  Tree tree;
  for (const Option<C>& option : options) tree.at_path(option.path) = option.get(config);
  return to_yaml(tree);
}

std::string cell(std::string text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string default_text(const Tree& tree) {
  switch (tree.kind) {
    case Tree::Kind::kScalar: return tree.scalar.empty() ? "" : "`" + tree.scalar + "`";
    case Tree::Kind::kMap: {
      std::string out;
      for (const auto& [key, value] : tree.map) out += (out.empty() ? "" : ", ") + key + ": " + value.scalar;
      return out.empty() ? "" : "`{" + out + "}`";
    }
    default: return "";
  }
}

template <class C>
void page_of(std::string& out, const std::vector<Option<C>>& options) {
  const C defaults;
  std::string section;
  for (const Option<C>& option : options) {
    const std::string head = option.path.substr(0, option.path.find('.'));
    if (head != section) {
      section = head;
      out += "\n### `" + head + "`\n\n| key | kind | default | meaning |\n|---|---|---|---|\n";
    }
    std::string kind(kind_name(option.kind));
    if (const std::string range = option.range(); !range.empty()) {
      kind += option.kind == Kind::kChoice ? " " + range : ", " + range;
    }
    std::string meaning = option.meaning;
    if (!option.when.empty()) meaning += " *Change it when:* " + option.when + ".";
    out += fmt::format("| `{}` | {} | {} | {} |\n", option.path, cell(kind), cell(default_text(option.get(defaults))), cell(meaning));
  }
}

nlohmann::ordered_json schema_of(Kind kind, std::uint64_t least, std::uint64_t most, const std::vector<std::string>& choices) {
  using json = nlohmann::ordered_json;
  switch (kind) {
    case Kind::kBoolean: return {{"type", "boolean"}};
    case Kind::kInteger:
    case Kind::kPort: return {{"type", "integer"}, {"minimum", least}, {"maximum", most}};
    case Kind::kDuration:
    case Kind::kBytes:
    case Kind::kBits: return {{"type", json::array({"string", "integer"})}};
    case Kind::kChoice: return {{"type", "string"}, {"enum", choices}};
    case Kind::kList: return {{"type", "array"}, {"items", {{"type", "string"}}}};
    case Kind::kHashstate:
      return {{"type", "object"},
              {"additionalProperties",
               {{"type", "object"},
                {"properties", {{"label", {{"type", "string"}}}, {"weight", {{"type", "integer"}, {"minimum", 1}}}}},
                {"required", json::array({"label"})},
                {"additionalProperties", false}}}};
    case Kind::kPieceLengths:
      return {{"type", "object"}, {"additionalProperties", {{"type", json::array({"string", "integer"})}}}};
    default: return {{"type", "string"}};
  }
}

template <class C>
std::string schema(const std::string& title, const std::vector<Option<C>>& options) {
  using json = nlohmann::ordered_json;
  json root{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
            {"title", title},
            {"type", "object"},
            {"properties", {{"extends", {{"type", "string"}, {"description", "A file to put underneath."}}}}},
            {"additionalProperties", false}};
  const C defaults;
  for (const Option<C>& option : options) {
    json* at = &root;
    std::string_view rest = option.path;
    for (std::size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
      json& child = (*at)["properties"][std::string(rest.substr(0, dot))];
      if (child.is_null()) child = {{"type", "object"}, {"properties", json::object()}, {"additionalProperties", false}};
      at = &child;
      rest.remove_prefix(dot + 1);
    }
    json leaf = schema_of(option.kind, option.least, option.most, option.choices);
    leaf["description"] = option.meaning;
    if (const Tree value = option.get(defaults); value.kind == Tree::Kind::kScalar && !value.scalar.empty()) {
      if (option.kind == Kind::kBoolean) {
        leaf["default"] = value.scalar == "true";
      } else if (option.kind == Kind::kInteger || option.kind == Kind::kPort) {
        leaf["default"] = std::stoull(value.scalar);
      } else {
        leaf["default"] = value.scalar;
      }
    }
    (*at)["properties"][std::string(rest)] = std::move(leaf);
  }
  return root.dump(2) + "\n";
}

}  // namespace

std::string print(const NodeConfig& config) { return print_all(config, node_options()); }

std::string print(const AgentConfig& config) { return print_all(config, agent_options()); }

std::string reference_page() {
  std::string out =
      "# Configuration\n\n"
      "Written by `kraken config reference` from the table in `config/options.cc`; a test fails when the two differ.\n\n"
      "One YAML file a process. `extends: other.yaml` puts another file underneath, `--secrets FILE` one on top; maps merge,\n"
      "lists and single values replace. `${NAME}` is the environment's NAME, `${NAME:-text}` has a default. Times are `5s`,\n"
      "`300ms`, `1h30m` (a bare number is nanoseconds), sizes `4MB`, `10GB` (powers of 1024), rates `200Mbit` (powers of 1000).\n"
      "Unknown keys are errors; keys of stock Kraken that mean nothing here are warned about.\n\n"
      "## `kraken node`\n";
  page_of(out, node_options());
  out += "\n## `kraken agent`\n";
  page_of(out, agent_options());
  return out;
}

std::string node_schema() { return schema("kraken node", node_options()); }

std::string agent_schema() { return schema("kraken agent", agent_options()); }

}  // namespace kraken::config
