#pragma once
// Errors as values: what happened (`code`), to what and what to do (`detail`).
//
// A code exists only if some caller branches on it. The table in error.cc gives each its name, whether repeating the
// request may help, and its effect: `none` (nothing was changed) or `unknown` (a write may or may not have happened).
// HTTP statuses are in http/errors. Threads: plain values.

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace kraken {

enum class Code : std::uint8_t {
  kInternal = 0,            // our own bug or an outcome nobody foresaw
  kInvalidArgument = 1,     // the input is malformed; repeating it cannot help
  kNotFound = 2,            // a linearizable read found nothing
  kAlreadyExists = 3,
  kConflict = 4,            // compare-and-swap lost, or the state refuses the command
  kUnavailable = 5,         // a peer, quorum or backend did not answer; try again
  kOverloaded = 6,          // a bounded queue is full; try again later
  kDeadlineExceeded = 7,    // no answer in time; nothing was changed
  kOutcomeUnknown = 8,      // a write may or may not have happened; reading tells
  kDiskFull = 9,
  kDigestMismatch = 10,     // the bytes are not what their digest says
  kTooLarge = 11,
  kCorrupt = 12,            // what a disk or a peer gave fails its checksum or its grammar
  kIo = 13,                 // a system call failed; `detail` has errno's text
  kCancelled = 14,          // the scope that ran this is stopping
  kClosed = 15,             // the other side closed the connection
  kProtocol = 16,           // a peer broke the protocol
  kUnsupported = 17,
  kNotLeader = 18,          // this replica cannot answer; `detail` names the leader if it is known
  kRangeNotSatisfiable = 19,
  kDenied = 20,
  kPending = 21,            // work was started; ask again (stock's 202)
};

enum class Effect : std::uint8_t { kNone, kUnknown };

struct CodeInfo {
  std::string_view name;
  bool retryable;
  Effect effect;
};

/// The table's row. Total: an unknown value answers the row of kInternal.
const CodeInfo& info(Code code) noexcept;

struct [[nodiscard]] Error {
  Code code = Code::kInternal;
  std::string detail;

  bool retryable() const noexcept { return info(code).retryable; }
  /// "not_found: tag library/app:v1"
  std::string to_string() const;
  /// The same error, with what was being done put in front: "push of sha256:ab..: <detail>".
  Error within(std::string_view what) &&;
  Error within(std::string_view what) const&;
};

template <class T = void>
using Result = std::expected<T, Error>;

template <class... Args>
[[nodiscard]] std::unexpected<Error> fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

/// fail(kIo, "<what>: <strerror(errno_value)>"); ENOSPC and EDQUOT become kDiskFull, ENOENT kNotFound.
[[nodiscard]] std::unexpected<Error> fail_errno(int errno_value, std::string_view what);

}  // namespace kraken

#define KR_CONCAT_INNER(a, b) a##b
#define KR_CONCAT(a, b) KR_CONCAT_INNER(a, b)

/// KR_TRY(auto v, f(x));   v is the value, or this function returns the error.
#define KR_TRY(declaration, ...)                                                                     \
  auto KR_CONCAT(kr_result_, __LINE__) = (__VA_ARGS__);                                              \
  if (!KR_CONCAT(kr_result_, __LINE__)) [[unlikely]]                                                 \
    return std::unexpected(std::move(KR_CONCAT(kr_result_, __LINE__)).error());                      \
  declaration = *std::move(KR_CONCAT(kr_result_, __LINE__))

/// KR_CHECK(f(x));   for Result<void>, or where the value is not needed.
#define KR_CHECK(...)                                                                                \
  do {                                                                                               \
    if (auto kr_checked = (__VA_ARGS__); !kr_checked) [[unlikely]]                                   \
      return std::unexpected(std::move(kr_checked).error());                                         \
  } while (false)

/// The same in a coroutine: KR_CO_TRY(auto v, co_await f(x));
#define KR_CO_TRY(declaration, ...)                                                                  \
  auto KR_CONCAT(kr_result_, __LINE__) = __VA_ARGS__;                                                \
  if (!KR_CONCAT(kr_result_, __LINE__)) [[unlikely]]                                                 \
    co_return std::unexpected(std::move(KR_CONCAT(kr_result_, __LINE__)).error());                   \
  declaration = *std::move(KR_CONCAT(kr_result_, __LINE__))

#define KR_CO_CHECK(...)                                                                             \
  do {                                                                                               \
    auto kr_checked = __VA_ARGS__;                                                                   \
    if (!kr_checked) [[unlikely]]                                                                    \
      co_return std::unexpected(std::move(kr_checked).error());                                      \
  } while (false)
