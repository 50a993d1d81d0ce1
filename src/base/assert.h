#pragma once
// KR_ASSERT states what must hold if our own code is right; it stays on in release builds and ends the process.
// Bytes from a peer, a client or a disk never reach an assertion: they give errors (src/base/error.h).

namespace kraken {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace kraken

#define KR_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::kraken::assertion_failed(#expression, __FILE__, __LINE__))
