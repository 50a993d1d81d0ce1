#include "src/core/names.h"

#include <algorithm>

#include "src/base/assert.h"
#include "src/base/hex.h"
#include "src/core/digest.h"

namespace kraken {
namespace {

constexpr std::size_t kRepositoryCharactersMax = 255;
constexpr std::size_t kTagCharactersMax = 128;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alphanumeric(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z'); }

/// One separator between two runs of letters and digits: '.', '_', '__', or any number of '-'.
bool is_separator(std::string_view text) {
  return text == "." || text == "_" || text == "__" ||
         (!text.empty() && std::ranges::all_of(text, [](char c) { return c == '-'; }));
}

bool is_repository_component(std::string_view component) {
  std::size_t at = 0;
  const auto run = [&](auto&& belongs) {
    const std::size_t from = at;
    while (at < component.size() && belongs(component[at])) ++at;
    return component.substr(from, at - from);
  };
  if (run(is_lower_or_digit).empty()) return false;
  while (at < component.size()) {
    if (!is_separator(run([](char c) { return c == '.' || c == '_' || c == '-'; }))) return false;
    if (run(is_lower_or_digit).empty()) return false;
  }
  return true;
}

/// For messages: what a terminal or a log can show.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) out += c >= ' ' && c <= '~' ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return out;
}

}  // namespace

Result<Repository> Repository::parse(std::string_view text) {
  const auto refuse = [&](std::string_view why) {
    return fail(Code::kInvalidArgument,
                "repository \"{}\" {}; a name is lower-case letters and digits, separated by '.', '_', '__' or '-', "
                "in components joined by '/'",
                shown(text), why);
  };
  if (text.empty()) return refuse("is empty");
  if (text.size() > kRepositoryCharactersMax) return refuse("is longer than 255 characters");
  for (std::size_t from = 0; from <= text.size();) {
    const std::size_t to = std::min(text.find('/', from), text.size());
    if (!is_repository_component(text.substr(from, to - from))) return refuse("is not a valid name");
    from = to + 1;
  }
  return Repository(std::string(text));
}

Result<TagName> TagName::parse(std::string_view text) {
  const bool good = !text.empty() && text.size() <= kTagCharactersMax && text[0] != '.' && text[0] != '-' &&
                    std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
  if (!good) {
    return fail(Code::kInvalidArgument,
                "tag \"{}\" is not valid; a tag is 1 to 128 letters, digits, '_', '.' or '-', not beginning with '.' or '-'",
                shown(text));
  }
  return TagName(std::string(text));
}

Result<QualifiedTag> QualifiedTag::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return fail(Code::kInvalidArgument, "\"{}\" is not <repository>:<tag>", shown(text));
  }
  KR_TRY(Repository repository, Repository::parse(text.substr(0, colon)));
  KR_TRY(TagName tag, TagName::parse(text.substr(colon + 1)));
  return QualifiedTag{.repository = std::move(repository), .tag = std::move(tag)};
}

Result<Namespace> Namespace::parse(std::string_view text) {
  const bool printable = std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~' && c != '\\'; });
  const bool climbs = text == ".." || text.starts_with("../") || text.ends_with("/..") || text.find("/../") != std::string_view::npos;
  if (text.empty() || text.size() > kRepositoryCharactersMax || !printable || climbs) {
    return fail(Code::kInvalidArgument, "namespace \"{}\" is not valid; it is 1 to 255 printable characters without '..'",
                shown(text));
  }
  return Namespace(std::string(text));
}

Result<UploadId> UploadId::parse(std::string_view text) {
  UploadId id;
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash_here = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash_here != (text[i] == '-')) return fail(Code::kInvalidArgument, "\"{}\" is not an upload id", shown(text));
    if (!dash_here) digits.push_back(text[i]);
  }
  if (!from_hex(digits, id.bytes_)) return fail(Code::kInvalidArgument, "\"{}\" is not an upload id", shown(text));
  return id;
}

UploadId UploadId::make(std::string_view label, std::string_view random) {
  KR_ASSERT(random.size() >= 12);
  UploadId id;
  const Digest of_label = Digest::of(label);
  std::ranges::copy(of_label.raw().substr(0, 4), reinterpret_cast<char*>(id.bytes_.data()));
  std::ranges::copy(random.substr(0, 12), reinterpret_cast<char*>(id.bytes_.data()) + 4);
  id.bytes_[6] = static_cast<std::uint8_t>(0x80 | (id.bytes_[6] & 0x0f));  // version 8 (RFC 9562 §5.8)
  id.bytes_[8] = static_cast<std::uint8_t>(0x80 | (id.bytes_[8] & 0x3f));  // variant
  return id;
}

bool UploadId::belongs_to(std::string_view label) const {
  return Digest::of(label).raw().substr(0, 4) == std::string_view(reinterpret_cast<const char*>(bytes_.data()), 4);
}

std::string UploadId::str() const {
  const std::string hex = to_hex(bytes_);
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                     hex.substr(20));
}

}  // namespace kraken
