#pragma once
// Names that come from outside. Each type can only be made by parsing, so that whatever holds one needs no further check
// (OCI distribution-spec "Pulling manifests"; consensus §6 path traversal). Threads: plain values.

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/error.h"

namespace kraken {

/// Lower-case path components joined by '/', at most 255 characters:
/// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* per component.
class Repository {
 public:
  Repository() = default;
  static Result<Repository> parse(std::string_view text);
  const std::string& str() const { return text_; }
  friend auto operator<=>(const Repository&, const Repository&) = default;

 private:
  explicit Repository(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

/// [A-Za-z0-9_][A-Za-z0-9._-]{0,127}
class TagName {
 public:
  TagName() = default;
  static Result<TagName> parse(std::string_view text);
  const std::string& str() const { return text_; }
  friend auto operator<=>(const TagName&, const TagName&) = default;

 private:
  explicit TagName(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

/// Stock's build-index names a tag "repository:tag".
struct QualifiedTag {
  Repository repository;
  TagName tag;
  static Result<QualifiedTag> parse(std::string_view text);
  std::string str() const { return repository.str() + ":" + tag.str(); }
  friend auto operator<=>(const QualifiedTag&, const QualifiedTag&) = default;
};

/// Kraken's own APIs name a namespace freely ("test/alpine", "library/x:v1"); it is printable ASCII, 1 to 255 characters,
/// without '..' components, backslashes and NUL. It only selects a backend, it never becomes a path.
class Namespace {
 public:
  Namespace() = default;
  static Result<Namespace> parse(std::string_view text);
  const std::string& str() const { return text_; }
  friend auto operator<=>(const Namespace&, const Namespace&) = default;

 private:
  explicit Namespace(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

/// A UUIDv8 whose first four bytes are the first of SHA-256(label of the node that holds the session), so that any node
/// knows whom to ask (design §6).
class UploadId {
 public:
  UploadId() = default;
  static Result<UploadId> parse(std::string_view text);
  /// `random` supplies the other bits. REQUIRES: at least 12 bytes.
  static UploadId make(std::string_view label, std::string_view random);
  bool belongs_to(std::string_view label) const;
  /// 8-4-4-4-12 lower-case hex.
  std::string str() const;
  friend auto operator<=>(const UploadId&, const UploadId&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

}  // namespace kraken
