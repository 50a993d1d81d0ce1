#include "src/base/error.h"

#include <array>
#include <cerrno>
#include <system_error>

namespace kraken {
namespace {

constexpr std::array<CodeInfo, 22> kCodes{{
    {"internal", false, Effect::kUnknown},
    {"invalid_argument", false, Effect::kNone},
    {"not_found", false, Effect::kNone},
    {"already_exists", false, Effect::kNone},
    {"conflict", false, Effect::kNone},
    {"unavailable", true, Effect::kNone},
    {"overloaded", true, Effect::kNone},
    {"deadline_exceeded", true, Effect::kNone},
    {"outcome_unknown", false, Effect::kUnknown},
    {"disk_full", false, Effect::kNone},
    {"digest_mismatch", false, Effect::kNone},
    {"too_large", false, Effect::kNone},
    {"corrupt", false, Effect::kNone},
    {"io", false, Effect::kUnknown},
    {"cancelled", true, Effect::kNone},
    {"closed", true, Effect::kUnknown},
    {"protocol", false, Effect::kNone},
    {"unsupported", false, Effect::kNone},
    {"not_leader", true, Effect::kNone},
    {"range_not_satisfiable", false, Effect::kNone},
    {"denied", false, Effect::kNone},
    {"pending", true, Effect::kNone},
}};

}  // namespace

const CodeInfo& info(Code code) noexcept {
  const auto row = static_cast<std::size_t>(code);
  return kCodes[row < kCodes.size() ? row : 0];
}

std::string Error::to_string() const { return fmt::format("{}: {}", info(code).name, detail); }

Error Error::within(std::string_view what) && {
  return Error{code, fmt::format("{}: {}", what, detail)};
}

Error Error::within(std::string_view what) const& { return Error{code, fmt::format("{}: {}", what, detail)}; }

std::unexpected<Error> fail_errno(int errno_value, std::string_view what) {
  const Code code = errno_value == ENOSPC || errno_value == EDQUOT ? Code::kDiskFull
                    : errno_value == ENOENT                        ? Code::kNotFound
                                                                   : Code::kIo;
  return fail(code, "{}: {}", what, std::generic_category().message(errno_value));
}

}  // namespace kraken
