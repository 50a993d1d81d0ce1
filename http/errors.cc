#include "http/errors.h"

namespace kraken::http {

int status_of(Code code) {
  switch (code) {
    case Code::kInternal: return 500;
    case Code::kInvalidArgument: return 400;
    case Code::kNotFound: return 404;
    case Code::kAlreadyExists: return 409;
    case Code::kConflict: return 409;
    case Code::kUnavailable: return 503;
    case Code::kOverloaded: return 429;
    case Code::kDeadlineExceeded: return 503;  // nothing was changed, so repeating is safe
    case Code::kOutcomeUnknown: return 504;
    case Code::kDiskFull: return 507;
    case Code::kDigestMismatch: return 400;
    case Code::kTooLarge: return 413;
    case Code::kCorrupt: return 500;
    case Code::kIo: return 500;
    case Code::kCancelled: return 503;
    case Code::kClosed: return 502;
    case Code::kProtocol: return 502;
    case Code::kUnsupported: return 501;
    case Code::kNotLeader: return 503;
    case Code::kRangeNotSatisfiable: return 416;
    case Code::kDenied: return 403;
    case Code::kPending: return 202;
  }
  return 500;
}

Code code_of(int status) {
  switch (status) {
    case 202: return Code::kPending;
    case 400: return Code::kInvalidArgument;
    case 401: return Code::kDenied;
    case 403: return Code::kDenied;
    case 404: return Code::kNotFound;
    case 409: return Code::kConflict;
    case 412: return Code::kConflict;
    case 413: return Code::kTooLarge;
    case 416: return Code::kRangeNotSatisfiable;
    case 429: return Code::kOverloaded;
    case 501: return Code::kUnsupported;
    case 502: return Code::kUnavailable;
    case 503: return Code::kUnavailable;
    case 504: return Code::kOutcomeUnknown;
    case 507: return Code::kDiskFull;
    default: break;
  }
  return status >= 400 && status < 500 ? Code::kInvalidArgument : Code::kInternal;
}

Error error_from(int status, std::string_view body, std::string_view what) {
  constexpr std::size_t kShown = 200;
  while (!body.empty() && (body.back() == '\n' || body.back() == '\r')) body.remove_suffix(1);
  return Error{code_of(status), fmt::format("{}: answered {}: {}", what, status, body.substr(0, kShown))};
}

std::string_view reason_of(int status) {
  switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Request Entity Too Large";
    case 414: return "Request URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Requested Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Unknown";
  }
}

Answer plain_error(const RequestHead& /*head*/, const Error& error) {
  Answer out;
  out.status = status_of(error.code);
  if (out.status == 429 || out.status == 503) out.headers.add("Retry-After", "1");
  if (out.status == 202 || out.status == 404 || out.status == 409) return out;
  out.headers.add("Content-Type", "text/plain; charset=utf-8");
  out.body = error.detail;
  return out;
}

}  // namespace kraken::http
