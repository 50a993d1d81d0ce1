#include "tests/history/record.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

namespace kraken::history {
namespace {

using nlohmann::json;
using Kind = RegisterOp::Kind;
using History = std::vector<Event<RegisterOp>>;

constexpr std::size_t kShownBefore = 12;

class Reader {
 public:
  Result<void> line(const std::string& text);
  Recording take() && { return std::move(recording_); }
  Reader() { recording_.values.emplace_back("absent"); }

 private:
  std::uint64_t value(const json& name) {
    if (name.is_null()) return 0;
    const auto [at, added] = numbers_.try_emplace(name.get<std::string>(), recording_.values.size());
    if (added) recording_.values.push_back(at->first);
    return at->second;
  }

  Recording recording_;
  std::unordered_map<std::string, std::uint64_t> numbers_;
};

// nlohmann's own exceptions say what is missing or of the wrong type.
Result<void> Reader::line(const std::string& text) try {
  const json line = json::parse(text);
  Event<RegisterOp> event;
  const std::string op = line.at("op");
  if (op != "get" && op != "put" && op != "delete") return fail(Code::kInvalidArgument, "op '{}'", op);
  event.op.kind = op == "get" ? Kind::kRead : op == "put" ? Kind::kWrite : Kind::kRemove;
  event.client = line.value("client", 0);
  event.invoke = line.at("invoke");
  const bool returned = !line.at("return").is_null();
  if (returned) event.ret = line.at("return");
  if (event.ret < event.invoke) return fail(Code::kInvalidArgument, "it returned before it was invoked");
  if (event.op.kind == Kind::kWrite) {
    event.op.value = value(line.at("value"));
    if (event.op.value == 0) return fail(Code::kInvalidArgument, "a put without a value");
  }
  if (line.contains("expect") && !line["expect"].is_null()) event.op.expect = line["expect"].get<std::uint64_t>();
  const std::string key = line.at("key");
  if (returned) {
    const std::string result = line.at("result");
    if (result == "refused") {
      recording_.refused[key].push_back(event);
      return {};
    }
    if (result != "ok" && result != "conflict") return fail(Code::kInvalidArgument, "result '{}'", result);
    if (result == "conflict") {
      if (!event.op.expect) return fail(Code::kInvalidArgument, "a conflict of an operation without a condition");
      event.op.result = RegisterOp::Result::kConflict;
    }
    if (line.contains("seen")) event.op.seen = value(line["seen"]);
    if (event.op.kind == Kind::kRead && !event.op.seen) return fail(Code::kInvalidArgument, "a get that saw nothing");
    if (line.contains("revision") && !line["revision"].is_null()) event.op.revision = line["revision"];
  }
  recording_.histories[key].push_back(event);
  return {};
} catch (const json::exception& error) {
  return fail(Code::kInvalidArgument, "{}", error.what());
}

std::string name(const Recording& recording, std::uint64_t value) {
  const std::string& full = recording.values[value];
  return full.starts_with("sha256:") ? full.substr(7, 12) : full;
}

}  // namespace

Result<Recording> read_recording(std::istream& in) {
  Reader reader;
  std::size_t number = 0;
  for (std::string text; std::getline(in, text);) {
    ++number;
    if (text.empty()) continue;
    if (auto read = reader.line(text); !read) return std::unexpected(read.error().within(fmt::format("line {}", number)));
  }
  return std::move(reader).take();
}

std::string describe(const Event<RegisterOp>& event, const Recording& recording) {
  const RegisterOp& op = event.op;
  std::string text = fmt::format("client {:<3}", event.client);
  text += op.kind == Kind::kRead ? "get" : op.kind == Kind::kWrite ? "put " + name(recording, op.value) : "delete";
  if (op.expect) text += *op.expect == 0 ? " if absent" : fmt::format(" if at {}", *op.expect);
  if (event.ret == kNever) return text + " -> never heard of";
  text += op.kind == Kind::kRead ? " ->" : op.result == RegisterOp::Result::kDone ? " -> ok" : " -> conflict,";
  if (op.seen) text += " " + name(recording, *op.seen);
  if (op.revision != 0) text += fmt::format(" at {}", op.revision);
  return text;
}

std::string excerpt(const History& history, const Report<RegisterModel::State>& report, const std::string& key,
                    const Recording& recording) {
  std::int64_t zero = kNever;
  for (const auto& event : history) zero = std::min(zero, event.invoke);
  const auto line = [&](const char* mark, const Event<RegisterOp>& event) {
    const std::string ret =
        event.ret == kNever ? "     never" : fmt::format("{:10.3f}", static_cast<double>(event.ret - zero) / 1e6);
    return fmt::format("  {} {:10.3f} .. {} ms  {}\n", mark, static_cast<double>(event.invoke - zero) / 1e6, ret,
                       describe(event, recording));
  };
  std::string text = fmt::format("key {}: {} operations, an order was found for {} of them. It ended:\n", key,
                                 history.size(), report.longest.size());
  const std::size_t from = report.longest.size() - std::min(report.longest.size(), kShownBefore);
  for (std::size_t i = from; i < report.longest.size(); ++i) text += line(" ", history[report.longest[i]]);
  text += fmt::format("  then it stood at {}", name(recording, report.reached.value));
  if (report.reached.revision != 0) text += fmt::format(", revision {}", report.reached.revision);
  text += ", and none of these can come next (in no order that was tried):\n";
  std::vector<std::size_t> stuck = report.stuck;
  std::ranges::sort(stuck, {}, [&](std::size_t i) { return history[i].ret; });
  for (const std::size_t i : stuck) text += line(">", history[i]);

  // Where does a value that they saw come from?
  for (const std::size_t i : stuck) {
    const auto& seen = history[i].op.seen;
    if (!seen || *seen == 0) continue;
    const auto writes = [&](const Event<RegisterOp>& event) {
      return event.op.kind == Kind::kWrite && event.op.value == *seen;
    };
    bool known = false;
    for (const auto& event : history) {
      if (writes(event)) text += line("w", event), known = true;
    }
    const auto refused = recording.refused.find(key);
    if (refused != recording.refused.end()) {
      for (const auto& event : refused->second) {
        if (writes(event)) text += line("r", event) + "    which was refused, and took effect after all\n", known = true;
      }
    }
    if (!known) text += fmt::format("    nobody wrote {}\n", name(recording, *seen));
  }
  return text;
}

}  // namespace kraken::history
