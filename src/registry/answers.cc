#include "src/registry/answers.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "http/errors.h"
#include "src/registry/registry.h"

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

void add_stale_headers(http::Headers& headers, const Staleness& stale) {
  if (!stale.age) {
    headers.add("Kraken-Stale", fmt::format("age=unknown, index={}", stale.index));
    headers.add("Warning", "110 kraken \"stale: the replica has heard no leader since it started\"");
    return;
  }
  const double seconds = std::chrono::duration<double>(*stale.age).count();
  headers.add("Kraken-Stale", fmt::format("age={:.3f}, index={}", seconds, stale.index));
  headers.add("Age", std::to_string(std::chrono::duration_cast<std::chrono::seconds>(*stale.age).count()));
  headers.add("Warning", fmt::format("110 kraken \"stale: the replica was up to date {:.3f} s ago\"", seconds));
}

std::optional<Staleness> stale_headers(const http::Headers& headers) {
  std::string_view text = headers.first("Kraken-Stale");
  constexpr std::string_view kAge = "age=", kIndex = ", index=";
  if (!text.starts_with(kAge)) return std::nullopt;
  text.remove_prefix(kAge.size());
  const auto cut = text.find(kIndex);
  if (cut == std::string_view::npos) return std::nullopt;
  const std::string_view age = text.substr(0, cut);
  const std::string_view index = text.substr(cut + kIndex.size());
  Staleness stale;
  const auto parsed = [](std::string_view from, auto& into) {
    const auto [end, ec] = std::from_chars(from.data(), from.data() + from.size(), into);
    return ec == std::errc{} && end == from.data() + from.size();
  };
  if (!parsed(index, stale.index)) return std::nullopt;
  if (age == "unknown") return stale;
  double seconds = 0;
  // A hundred years: beyond, it is no age, and would not fit.
  if (!parsed(age, seconds) || !(seconds >= 0 && seconds < 3.2e9)) return std::nullopt;
  stale.age = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  return stale;
}

Result<bool> stale_asked(const http::RequestHead& request) {
  const std::string text = request.query("stale").value_or("false");
  if (text == "true") return true;
  if (text == "false" || text.empty()) return false;
  return fail(Code::kInvalidArgument, "stale={}: want true or false", text);
}

}  // namespace kraken::registry
