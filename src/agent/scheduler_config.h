#pragma once
// Scheduler settings: from the configuration, and from stock's PATCH /x/config/scheduler (facts §1.4), whose JSON keys are
// Go's field names without regard to case and whose durations are nanoseconds.

#include <string_view>

#include "config/config.h"
#include "src/p2p/scheduler.h"

namespace kraken::agent {

p2p::SchedulerOptions scheduler_options(const config::Scheduler& config);

/// The whole configuration anew: what is not in the JSON has its default. Keys that mean nothing here are ignored, as
/// stock ignores unknown ones. kInvalidArgument for what is no JSON object, or a value of another type.
Result<config::Scheduler> parse_scheduler_config(std::string_view json);

}  // namespace kraken::agent
