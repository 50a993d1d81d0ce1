// Messages, entries and configurations as the words of a scenario's expected output. Positions in a log are index/term.
#pragma once

#include <string>

#include "consensus/raft/core.h"

namespace kraken::scenario {

std::string text(const raft::Message& m);
std::string text(const raft::Entry& e);
std::string text(const std::vector<raft::Entry>& entries);
/// (1 2 3), joint: (1 2 4)&(1 2 3), then learners, next learners and the epoch if there are any.
std::string text(const raft::ConfState& conf);
std::string text(raft::Core::Role role);
std::string text(raft::Core::Peer::State state);
/// "AppendReq", "PreVoteReq", ...
std::string kind_of(const raft::Message& m);

}  // namespace kraken::scenario
