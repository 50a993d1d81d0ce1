#include "tests/scenario/commands.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include <fmt/format.h>

#include "tests/scenario/message_filter.h"
#include "tests/scenario/print.h"
#include "tests/scenario/words.h"

namespace kraken::scenario {

using namespace raft;

Line::Line(const std::string& text) {
  std::istringstream in(text);
  in >> command;
  for (std::string word; in >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0)
      words.push_back(word);
    else
      options.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
}

uint64_t Line::number(size_t word) const {
  if (word >= words.size()) throw Failure(command + " needs a number");
  return to_number(words[word]);
}

std::optional<std::string> Line::option(const std::string& key) {
  for (auto it = options.begin(); it != options.end(); ++it) {
    if (it->first != key) continue;
    std::string value = std::move(it->second);
    options.erase(it);
    return value;
  }
  return std::nullopt;
}

bool Line::flag(const std::string& word) {
  const auto it = std::find(words.begin(), words.end(), word);
  if (it == words.end()) return false;
  words.erase(it);
  return true;
}

void Line::done() const {
  if (!options.empty()) throw Failure(fmt::format("{}: unknown option {}", command, options.front().first));
}

std::vector<std::string> Runner::run(const std::string& text) {
  Line line(text);
  const bool quiet = line.flag("quiet");
  try {
    execute(line);
    line.done();
  } catch (const std::exception& e) {
    std::vector<std::string> out = cluster_ ? cluster_->take_trace() : std::vector<std::string>();
    out.push_back(fmt::format("FAILURE in \"{}\": {}", text, e.what()));
    return out;
  }
  std::vector<std::string> out = cluster_ ? cluster_->take_trace() : std::vector<std::string>();
  if (quiet) out.clear();
  return out;
}

void Runner::execute(Line& line) {
  if (setup(line) || clients(line) || disks(line) || links(line) || looks(line)) return;
  throw Failure("unknown command");
}

Cluster& Runner::cluster() {
  if (!cluster_) {
    if (images_.empty()) throw Failure("begin with: nodes N");
    cluster_ = std::make_unique<Cluster>(std::move(images_), options_);
  }
  return *cluster_;
}

std::vector<uint64_t> Runner::everyone_or(const Line& line) {
  std::vector<uint64_t> ids;
  for (size_t i = 0; i < line.words.size(); i++) ids.push_back(line.number(i));
  if (ids.empty())
    for (uint64_t id = 1; id <= cluster().size(); id++) ids.push_back(id);
  return ids;
}

// What the replicas are and begin with.
bool Runner::setup(Line& line) {
  if (line.command == "nodes") {
    if (cluster_) throw Failure("nodes comes first");
    const uint64_t count = line.number(0);
    ConfState conf = parse_conf(line);
    if (conf.voters.empty())
      for (uint64_t id = 1; id <= count; id++)
        if (!std::count(conf.learners.begin(), conf.learners.end(), ReplicaId{id})) conf.voters.push_back(ReplicaId{id});
    images_.assign(count, Image{});
    for (Image& image : images_) image.snap.conf = conf;
    return true;
  }
  if (line.command == "node") {
    const uint64_t id = line.number(0);
    if (id == 0 || id > images_.size()) throw Failure("no such replica, or it runs already");
    parse_image(line, images_[id - 1]);
    return true;
  }
  if (line.command == "limits") {
    if (cluster_) throw Failure("limits come before the first step");
    const auto number = [&](const char* key, auto& field) {
      if (const auto value = line.option(key)) field = static_cast<std::remove_reference_t<decltype(field)>>(to_number(*value));
    };
    number("append_bytes", options_.max_append_bytes);
    number("inflight", options_.max_inflight_msgs);
    number("uncommitted_bytes", options_.max_uncommitted_bytes);
    number("reads", options_.max_pending_reads);
    number("tail_bytes", options_.max_tail_bytes);
    number("keep_bytes", options_.keep_tail_bytes);
    number("at_once", options_.commit_at_once);
    return true;
  }
  return false;
}

bool Runner::clients(Line& line) {
  const auto replica = [&]() -> Replica& { return cluster().at(line.number(0)); };
  if (line.command == "campaign") {
    cluster().timeout(replica());
  } else if (line.command == "elect") {
    Replica& r = replica();
    cluster().timeout(r);
    cluster().stabilize(everyone_or(Line("elect")));
    cluster().take_trace();
    if (!r.core->view().is_leader) throw Failure("it was not elected");
  } else if (line.command == "tick") {
    if (line.words.size() < 2) throw Failure("tick ID.. DURATION");
    const Time t = to_time(line.words.back());
    line.words.pop_back();
    if (line.words.front() == "all") line.words.clear();
    for (uint64_t id : everyone_or(line))
      if (cluster().at(id, false).up()) cluster().pass(cluster().at(id), t);
  } else if (line.command == "propose") {
    for (size_t i = 1; i < std::max<size_t>(line.words.size(), 2); i++) {
      if (line.words.size() < 2) throw Failure("propose ID WORD..");
      cluster().step(replica(), in::Propose{++ticket_, std::make_shared<const std::string>(line.words[i])});
    }
  } else if (line.command == "propose-batch") {
    in::ProposeBatch batch;
    for (size_t i = 1; i < line.words.size(); i++) batch.proposals.push_back({++ticket_, std::make_shared<const std::string>(line.words[i])});
    cluster().step(replica(), std::move(batch));
  } else if (line.command == "conf") {
    const ConfState target = parse_conf(line);
    cluster().step(replica(), in::ChangeConf{++ticket_, target});
  } else if (line.command == "read") {
    cluster().step(replica(), in::ReadIndex{++ticket_});
  } else if (line.command == "transfer") {
    cluster().step(replica(), in::Transfer{ReplicaId{line.number(1)}});
  } else {
    return false;
  }
  return true;
}

bool Runner::disks(Line& line) {
  const auto replica = [&](bool up = true) -> Replica& { return cluster().at(line.number(0), up); };
  if (line.command == "persist") {
    const auto count = line.option("writes");
    for (uint64_t id : everyone_or(line)) {
      Replica& r = cluster().at(id);
      cluster().persist(r, count ? to_number(*count) : r.writes.size());
    }
  } else if (line.command == "fetch") {
    cluster().answer_fetches(replica());
  } else if (line.command == "lose-fetch") {
    Replica& r = replica();
    for (const Output::Fetch& f : std::exchange(r.fetches, {})) cluster().step(r, in::Fetched{f.peer, {}});
  } else if (line.command == "snapshot") {
    const bool ok = !line.flag("fail");
    cluster().make_snapshots(replica(), ok);
  } else if (line.command == "abandon-snapshot") {
    cluster().step(replica(), in::SnapReady{ReplicaId{line.number(1)}, {}, false});
  } else if (line.command == "install") {
    const bool ok = !line.flag("fail");
    cluster().install(replica(), ok);
  } else if (line.command == "compact") {
    cluster().compact(replica(), Index{line.number(1)});
  } else if (line.command == "crash") {
    const auto durable = line.option("durable");
    for (uint64_t id : everyone_or(line)) cluster().crash(cluster().at(id), durable ? to_number(*durable) : 0);
  } else if (line.command == "restart") {
    for (uint64_t id : everyone_or(line)) cluster().restart(cluster().at(id, false));
  } else if (line.command == "sick") {
    cluster().step(replica(), in::StorageSick{true});
  } else if (line.command == "well") {
    cluster().step(replica(), in::StorageSick{false});
  } else {
    return false;
  }
  return true;
}

bool Runner::links(Line& line) {
  if (line.command == "stabilize") {
    cluster().stabilize(everyone_or(line));
  } else if (line.command == "deliver" || line.command == "drop" || line.command == "repeat") {
    const MessageFilter filter(line);
    std::deque<Message> chosen = filter.take(cluster().in_flight(), line.command != "repeat");
    if (chosen.empty() && line.command != "drop") throw Failure("no such message is in flight");
    for (const Message& m : chosen) {
      if (line.command == "drop")
        cluster().say(fmt::format("lost: {} -> {} {}", raw(header(m).from), raw(header(m).to), text(m)));
      else
        cluster().deliver(m);
    }
  } else if (line.command == "partition") {
    cluster().partition(parse_sides(line));
  } else if (line.command == "heal") {
    cluster().partition({});
  } else if (line.command == "peer-down") {
    cluster().step(cluster().at(line.number(0)), in::PeerDown{ReplicaId{line.number(1)}});
  } else if (line.command == "inject") {
    cluster().deliver(parse_message(line));
  } else {
    return false;
  }
  return true;
}

// What only looks.
bool Runner::looks(Line& line) {
  if (line.command == "flight") {
    for (const Message& m : cluster().in_flight()) cluster().say(fmt::format("{} -> {} {}", raw(header(m).from), raw(header(m).to), text(m)));
    if (cluster().in_flight().empty()) cluster().say("nothing");
  } else if (line.command == "state") {
    for (uint64_t id : everyone_or(line)) {
      Replica& r = cluster().at(id, false);
      if (!r.up()) {
        cluster().say(fmt::format("{} down, log on disk {}-{}", id, raw(r.disk.snap.index) + 1, raw(r.disk.last())));
        continue;
      }
      const Core::View v = r.core->view();
      cluster().say(fmt::format("{} {} term {} leader {} log {}-{}/{} commit {}{}", id, text(v.role), raw(v.term), v.leader ? raw(*v.leader) : 0, raw(v.first), raw(v.last),
                                raw(v.last_term), raw(v.commit), v.applied == v.commit ? "" : fmt::format(" applied {}", raw(v.applied))));
    }
  } else if (line.command == "log") {
    for (uint64_t id : everyone_or(line)) {
      const Replica& r = cluster().at(id, false);
      cluster().say(fmt::format("{}: {}{}", id, raw(r.disk.snap.index) == 0 ? "" : fmt::format("snapshot {}/{} ", raw(r.disk.snap.index), raw(r.disk.snap.term)),
                                text(r.up() ? r.log : r.disk.log)));
    }
  } else if (line.command == "conf-of") {
    for (uint64_t id : everyone_or(line)) cluster().say(fmt::format("{} {}", id, text(cluster().at(id).core->conf())));
  } else if (line.command == "progress") {
    for (const Core::Peer& p : cluster().at(line.number(0)).core->peers())
      cluster().say(fmt::format("{} match {} next {} {}{}", raw(p.id), raw(p.match), raw(p.next), text(p.state), p.voter ? "" : " learner"));
  } else if (line.command == "deadline") {
    const Replica& r = cluster().at(line.number(0));
    cluster().say(r.core->deadline() == Time::max() ? "never" : "some time");
  } else {
    return false;
  }
  return true;
}

}  // namespace kraken::scenario
