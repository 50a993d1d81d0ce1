#pragma once
// Recorded register histories as text, one JSON object a line:
//   {"client": 3, "key": "t1", "op": "put", "value": "sha256:..", "expect": 17, "invoke": 1234, "return": 5678,
//    "result": "ok", "seen": "sha256:..", "revision": 18}
//   op        get, put, delete
//   value     put: what was written
//   expect    put, delete: only if it stands at this revision; 0: only if absent; missing or null: whatever it stands at
//   invoke, return   nanoseconds of one clock; return null: nobody knows whether it took effect
//   result    ok; conflict: the condition did not hold; refused: it is known not to have taken effect
//   seen      get, conflict: what it stood at; null: absent
//   revision  of what was written or seen; missing or 0: was not told
// Refused operations are left out of the search: a refused write that shows after all is then a value that nobody wrote.

#include <istream>
#include <map>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "tests/history/register_model.h"

namespace kraken::history {

struct Recording {
  std::map<std::string, std::vector<Event<RegisterOp>>> histories;  // by key
  std::map<std::string, std::vector<Event<RegisterOp>>> refused;
  std::vector<std::string> values;  // names of RegisterOp::value; values[0] is "absent"
};

/// kInvalidArgument names the line.
Result<Recording> read_recording(std::istream& in);

/// "client 3  put v17 if 12 -> ok, revision 14".
std::string describe(const Event<RegisterOp>& event, const Recording& recording);

/// Around the place where no order could go on: the last operations of the longest explanation, the state behind them,
/// what might have come next and could not, and what was refused though somebody saw it.
std::string excerpt(const std::vector<Event<RegisterOp>>& history, const Report<RegisterModel::State>& report,
                    const std::string& key, const Recording& recording);

}  // namespace kraken::history
