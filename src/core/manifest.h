#pragma once
// Manifests: docker schema 2, docker manifest lists, OCI image manifests and indexes (image-spec manifest.md,
// image-index.md). Only what the registry needs: media type, references, subject. Threads: plain values.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"
#include "src/core/digest.h"

namespace kraken {

/// Larger ones are refused with 413 (distribution-spec: at least 4 MiB must be taken).
inline constexpr std::uint64_t kManifestBytesMax = 4u << 20;
inline constexpr std::size_t kManifestReferencesMax = 10000;

namespace media_type {
inline constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
}  // namespace media_type

struct Descriptor {
  Digest digest;
  std::uint64_t size = 0;
  std::string media_type;
  bool is_manifest = false;  // named in an index's "manifests"
  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

struct Manifest {
  std::string media_type;
  bool is_index = false;
  /// What must be there before the manifest may be: config, layers, or child manifests; each digest once, in order.
  /// Foreign layers (with urls, or a foreign/nondistributable media type) are left out.
  std::vector<Descriptor> references;
  std::optional<Descriptor> subject;  // needs not exist

  /// `content_type` is the request's Content-Type, "" if there was none; it must agree with the body's mediaType where both
  /// are there. kInvalidArgument says what is wrong, kTooLarge beyond the two bounds.
  static Result<Manifest> parse(std::string_view body, std::string_view content_type);
  static bool known(std::string_view media_type);
};

}  // namespace kraken
