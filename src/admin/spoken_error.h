#pragma once

#include "http/errors.h"

namespace kraken::admin {

/// The ErrorWriter of the admin server: as http::plain_error, and with the error's sentence also where stock's servers answer by
/// the status alone (202, 404, 409). Stock has no such server, so nobody expects those answers to be empty.
http::Answer spoken_error(const http::RequestHead& head, const Error& error);

}  // namespace kraken::admin
