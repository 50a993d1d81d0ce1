#include "tests/scenario/words.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include <fmt/format.h>

namespace kraken::scenario {

using namespace raft;

uint64_t to_number(const std::string& word) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) throw Failure(word + " is no number");
  return value;
}

Time to_time(const std::string& word) {
  if (word.ends_with("ms")) return std::chrono::milliseconds(to_number(word.substr(0, word.size() - 2)));
  if (word.ends_with("s")) return std::chrono::seconds(to_number(word.substr(0, word.size() - 1)));
  throw Failure(word + " is no duration: 500ms, 2s");
}

std::vector<uint64_t> to_numbers(const std::string& text) {
  std::vector<uint64_t> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) out.push_back(to_number(part));
  return out;
}

ConfState parse_conf(Line& line) {
  ConfState conf;
  const auto list = [&](const char* key, std::vector<ReplicaId>& ids) {
    if (const auto value = line.option(key))
      for (uint64_t id : to_numbers(*value)) ids.push_back(ReplicaId{id});
  };
  list("voters", conf.voters);
  list("outgoing", conf.outgoing);
  list("learners", conf.learners);
  list("next", conf.learners_next);
  if (const auto epoch = line.option("epoch")) conf.placement_epoch = to_number(*epoch);
  return conf;
}

namespace {

/// "7/3": an index and a term.
std::pair<Index, Term> to_place(const std::string& word) {
  const size_t slash = word.find('/');
  if (slash == std::string::npos) throw Failure(word + " is no INDEX/TERM");
  return {Index{to_number(word.substr(0, slash))}, Term{to_number(word.substr(slash + 1))}};
}

std::vector<Entry> entries_of(const std::string& terms, Index first) {
  std::vector<Entry> out;
  for (uint64_t term : to_numbers(terms)) {
    out.push_back({Term{term}, first, Kind::kData, std::make_shared<const std::string>(fmt::format("d{}.{}", raw(first), term))});
    first = first + 1;
  }
  return out;
}

}  // namespace

void parse_image(Line& line, Image& image) {
  if (const auto snap = line.option("snap")) std::tie(image.snap.index, image.snap.term) = to_place(*snap);
  if (const auto log = line.option("log")) image.log = entries_of(*log, image.snap.index + 1);
  image.hs.term = image.log.empty() ? image.snap.term : image.log.back().term;
  if (const auto term = line.option("term")) image.hs.term = Term{to_number(*term)};
  if (const auto vote = line.option("vote")) image.hs.vote = ReplicaId{to_number(*vote)};
  if (const auto applied = line.option("applied")) image.applied = Index{to_number(*applied)};
  const ConfState conf = parse_conf(line);
  if (!conf.voters.empty()) image.snap.conf = conf;
}

std::vector<std::vector<uint64_t>> parse_sides(Line& line) {
  std::vector<std::vector<uint64_t>> sides(1);
  for (const std::string& word : line.words) {
    if (word == "|")
      sides.emplace_back();
    else
      sides.back().push_back(to_number(word));
  }
  return sides;
}

Message parse_message(Line& line) {
  if (line.words.size() < 2) throw Failure("inject FROM->TO KIND term=..");
  const size_t arrow = line.words[0].find("->");
  if (arrow == std::string::npos) throw Failure("inject FROM->TO KIND term=..");
  const std::string kind = line.words[1];
  const auto number = [&](const char* key) {
    const auto value = line.option(key);
    return value ? to_number(*value) : 0;
  };
  const auto place = [&](const char* key) {
    const auto value = line.option(key);
    return value ? to_place(*value) : std::pair<Index, Term>{};
  };
  const Hdr h{GroupId{7}, ReplicaId{to_number(line.words[0].substr(0, arrow))}, ReplicaId{to_number(line.words[0].substr(arrow + 2))}, Term{number("term")}};
  const bool yes = line.flag("yes") || line.flag("ok");
  const bool transfer = line.flag("transfer");
  if (kind == "VoteReq" || kind == "PreVoteReq") {
    const auto [index, term] = place("log");
    return VoteReq{h, index, term, kind == "PreVoteReq", transfer};
  }
  if (kind == "VoteResp" || kind == "PreVoteResp") return VoteResp{h, kind == "PreVoteResp", yes};
  if (kind == "AppendReq") {
    const auto [index, term] = place("prev");
    const Index from{line.option("from").transform([](const std::string& s) { return to_number(s); }).value_or(raw(index) + 1)};
    return AppendReq{h, index, term, Index{number("commit")}, entries_of(line.option("entries").value_or(""), from), number("read")};
  }
  if (kind == "AppendResp") {
    const auto [index, term] = place("try");
    return AppendResp{h, yes, Index{number("at")}, index, term, number("read")};
  }
  if (kind == "BeatReq") return BeatReq{h, Index{number("commit")}, number("read")};
  if (kind == "BeatResp") return BeatResp{h, Index{number("has")}, number("read")};
  if (kind == "SnapReq") {
    const auto [index, term] = place("at");
    return SnapReq{h, {index, term, parse_conf(line), number("id")}};
  }
  if (kind == "SnapResp") return SnapResp{h, number("id"), yes};
  if (kind == "TimeoutNow") return TimeoutNow{h};
  throw Failure("unknown kind of message " + kind);
}

}  // namespace kraken::scenario
