#include "src/registry/answers.h"

#include <nlohmann/json.hpp>

#include "http/errors.h"

namespace kraken::registry {

namespace {

std::string_view code_of(const Error& error, ErrorNames names) {
  switch (error.code) {
    case Code::kNotFound:
      return names.not_found;
    case Code::kInvalidArgument:
      return names.invalid;
    case Code::kDigestMismatch:
      return "DIGEST_INVALID";
    case Code::kRangeNotSatisfiable:
      return "BLOB_UPLOAD_INVALID";
    case Code::kTooLarge:
      return "SIZE_INVALID";
    case Code::kOverloaded:
      return "TOOMANYREQUESTS";
    case Code::kDenied:
      return "DENIED";
    case Code::kUnsupported:
      return "UNSUPPORTED";
    case Code::kConflict:
    case Code::kAlreadyExists:
      return "CONFLICT";
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
    case Code::kOutcomeUnknown:
    case Code::kDiskFull:
    case Code::kNotLeader:
    case Code::kCancelled:
    case Code::kClosed:
      return "UNAVAILABLE";
    default:
      return "UNKNOWN";
  }
}

std::string_view advice(Code code) {
  switch (code) {
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
    case Code::kNotLeader:
    case Code::kCancelled:
    case Code::kClosed:
    case Code::kOverloaded:
      return "; try again, repeating is safe";
    case Code::kOutcomeUnknown:
      return "; it may or may not have happened: read it back, or repeat it";
    case Code::kDiskFull:
      return "; free space on the named node or push to another one, reads go on";
    default:
      return "";
  }
}

}  // namespace

http::Headers base_headers() { return {{"Docker-Distribution-Api-Version", "registry/2.0"}}; }

http::Answer refuse(int status, std::string_view code, std::string message, const nlohmann::json& detail) {
  nlohmann::ordered_json entry;
  entry["code"] = code;
  entry["message"] = std::move(message);
  if (!detail.is_null()) entry["detail"] = detail;
  nlohmann::ordered_json body;
  body["errors"] = nlohmann::ordered_json::array({std::move(entry)});
  http::Answer answer;
  answer.status = status;
  answer.headers = base_headers();
  answer.headers.add("Content-Type", "application/json");
  if (status == 429 || status == 503) answer.headers.add("Retry-After", "1");
  // Names come from outside and may be no UTF-8: replaced, never an exception.
  answer.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return answer;
}

http::Answer refuse(int status, std::string_view code, std::string message) {
  return refuse(status, code, std::move(message), nlohmann::json());
}

http::Answer answer_of(const Error& error, ErrorNames names) {
  int status = http::status_of(error.code);
  // A peer that closed, or our own stop, is no fault of this client: it may try again.
  if (error.code == Code::kClosed || error.code == Code::kCancelled || error.code == Code::kNotLeader ||
      error.code == Code::kDeadlineExceeded)
    status = 503;
  if (error.code == Code::kDigestMismatch) status = 400;
  if (error.code == Code::kUnsupported) status = 405;
  return refuse(status, code_of(error, names), error.detail + std::string(advice(error.code)));
}

bool is_registry_path(std::string_view path) { return path == "/v2" || path.starts_with("/v2/"); }

http::Answer error_answer(const http::RequestHead&, const Error& error) {
  return answer_of(error, ErrorNames{"NAME_UNKNOWN", "NAME_INVALID"});
}

net::Task<> send(http::Exchange& exchange, http::Answer answer) {
  return exchange.reply(answer.status, std::move(answer.headers), std::move(answer.body));
}

}  // namespace kraken::registry
