#pragma once
// Error codes and HTTP statuses: the one place that knows both.

#include <string_view>

#include "http/headers.h"
#include "src/base/error.h"

namespace kraken::http {

/// The status that answers an error, where a handler has no better one. See the table in errors.cc.
int status_of(Code code);
/// What a status from another of our servers means here; 2xx is a bug of the caller (kInternal).
Code code_of(int status);

/// An answer's status and text as an error: "<what>: answered 404: <first 200 bytes of body>".
Error error_from(int status, std::string_view body, std::string_view what);

/// "Not Found". An unknown one gives "Unknown".
std::string_view reason_of(int status);

/// The default ErrorWriter, as stock answers: the error's text as text/plain; an empty body for 202, 404 and 409;
/// Retry-After: 1 for 429 and 503.
Answer plain_error(const RequestHead& head, const Error& error);

}  // namespace kraken::http
