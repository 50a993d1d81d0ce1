#include "src/core/manifest.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

namespace kraken {
namespace {

using nlohmann::json;

constexpr int kDepthMax = 64;

std::unexpected<Error> bad(std::string_view why) { return fail(Code::kInvalidArgument, "manifest: {}", why); }

/// Hostile nesting would exhaust the stack of the parser: count brackets outside strings first.
bool too_deep(std::string_view body) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDepthMax) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

bool is_foreign(const json& object, std::string_view media_type) {
  return media_type.find(".foreign.") != std::string_view::npos || media_type.find(".nondistributable.") != std::string_view::npos ||
         (object.contains("urls") && object["urls"].is_array() && !object["urls"].empty());
}

Result<Descriptor> parse_descriptor(const json& object, std::string_view where) {
  if (!object.is_object()) return bad(fmt::format("{} is no object", where));
  const auto digest = object.find("digest");
  if (digest == object.end() || !digest->is_string()) return bad(fmt::format("{} has no digest", where));
  auto parsed = Digest::parse(digest->get_ref<const std::string&>());
  if (!parsed) return bad(fmt::format("{}: {}", where, parsed.error().detail));
  const auto size = object.find("size");
  if (size == object.end() || !size->is_number_unsigned()) return bad(fmt::format("{} has no size", where));
  Descriptor made{.digest = *parsed, .size = size->get<std::uint64_t>(), .media_type = {}, .is_manifest = false};
  const auto type = object.find("mediaType");
  if (type != object.end() && type->is_string()) made.media_type = type->get<std::string>();
  return made;
}

Result<std::string> decide_media_type(const json& document, std::string_view content_type) {
  std::string from_header(content_type.substr(0, content_type.find(';')));
  while (!from_header.empty() && from_header.back() == ' ') from_header.pop_back();
  std::string from_body;
  if (const auto type = document.find("mediaType"); type != document.end() && type->is_string()) from_body = type->get<std::string>();
  if (!from_body.empty() && Manifest::known(from_header) && from_header != from_body) {
    return bad(fmt::format("its mediaType is {}, the Content-Type is {}", from_body, from_header));
  }
  if (!from_body.empty()) return from_body;
  if (Manifest::known(from_header)) return from_header;
  return std::string(document.contains("manifests") ? media_type::kOciIndex : media_type::kOciManifest);
}

Result<> collect(const json& document, const char* key, bool manifests, Manifest& into, std::set<Digest>& seen) {
  const auto list = document.find(key);
  if (list == document.end() || !list->is_array()) return bad(fmt::format("no array \"{}\"", key));
  if (list->size() > kManifestReferencesMax) return fail(Code::kTooLarge, "manifest: more than {} references", kManifestReferencesMax);
  for (const json& object : *list) {
    KR_TRY(Descriptor descriptor, parse_descriptor(object, fmt::format("an entry of \"{}\"", key)));
    descriptor.is_manifest = manifests;
    if (!manifests && is_foreign(object, descriptor.media_type)) continue;
    if (seen.insert(descriptor.digest).second) into.references.push_back(std::move(descriptor));
  }
  return {};
}

}  // namespace

bool Manifest::known(std::string_view type) {
  return type == media_type::kDockerManifest || type == media_type::kDockerList || type == media_type::kOciManifest ||
         type == media_type::kOciIndex;
}

Result<Manifest> Manifest::parse(std::string_view body, std::string_view content_type) {
  if (body.size() > kManifestBytesMax) return fail(Code::kTooLarge, "manifest: more than {} bytes", kManifestBytesMax);
  if (too_deep(body)) return bad(fmt::format("nested deeper than {}", kDepthMax));
  const json document = json::parse(body, nullptr, false);
  if (document.is_discarded()) return bad("not JSON");
  if (!document.is_object()) return bad("not a JSON object");
  const auto version = document.find("schemaVersion");
  if (version == document.end() || !version->is_number_integer() || version->get<int>() != 2) return bad("schemaVersion is not 2");

  Manifest made;
  KR_TRY(made.media_type, decide_media_type(document, content_type));
  if (!known(made.media_type)) return bad(fmt::format("media type \"{:.100}\" is not supported", made.media_type));
  made.is_index = made.media_type == media_type::kDockerList || made.media_type == media_type::kOciIndex;

  std::set<Digest> seen;
  if (made.is_index) {
    KR_CHECK(collect(document, "manifests", true, made, seen));
  } else {
    const auto config = document.find("config");
    if (config == document.end()) return bad("no \"config\"");
    KR_TRY(Descriptor descriptor, parse_descriptor(*config, "\"config\""));
    seen.insert(descriptor.digest);
    made.references.push_back(std::move(descriptor));
    KR_CHECK(collect(document, "layers", false, made, seen));
  }
  if (const auto subject = document.find("subject"); subject != document.end() && !subject->is_null()) {
    KR_TRY(made.subject, parse_descriptor(*subject, "\"subject\""));
  }
  return made;
}

}  // namespace kraken
