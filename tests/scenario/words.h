// The words that commands are made of: numbers, times, lists, configurations, logs, messages.
#pragma once

#include <string>
#include <vector>

#include "tests/scenario/commands.h"

namespace kraken::scenario {

uint64_t to_number(const std::string& word);
/// 500ms, 2s.
raft::Time to_time(const std::string& word);
std::vector<uint64_t> to_numbers(const std::string& comma_separated);
/// voters=1,2,3 outgoing=.. learners=.. next=.. epoch=..; takes those options from the line.
raft::ConfState parse_conf(Line& line);
/// log=1,1,2 (the terms of the entries) term= vote= applied= snap=INDEX/TERM
void parse_image(Line& line, Image& image);
/// 1 2 | 3: each side's words.
std::vector<std::vector<uint64_t>> parse_sides(Line& line);
/// 2->1 AppendReq term=3 prev=2/1 commit=4 entries=1,1 ...: any message, also one that no honest replica sends.
raft::Message parse_message(Line& line);

}  // namespace kraken::scenario
