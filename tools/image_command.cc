// kraken push and kraken pull: an OCI image layout (a folder with oci-layout, index.json and blobs/sha256/) to a registry
// and back, without docker or skopeo.

#include <cstdio>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "http/url.h"
#include "src/base/file.h"
#include "src/core/digest.h"
#include "src/core/manifest.h"
#include "src/core/names.h"
#include "tools/caller.h"
#include "tools/command.h"
#include "tools/progress.h"

namespace kraken::tools {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr int kDepthMax = 4;  // an index of indexes, and then some
constexpr const char* kAccept =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

struct ImageName {
  Target registry;
  Repository repository;
  std::string reference;  // tag or digest
};

/// "127.0.0.1:15000/library/app:v1" or "...@sha256:<hex>"; the tag is `latest` where none is given.
Result<ImageName> parse_image(const std::string& text, std::uint16_t default_port) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) {
    return fail(Code::kInvalidArgument, "\"{}\" is not host/repository:tag, for example 127.0.0.1:{}/library/app:v1", text, default_port);
  }
  ImageName name;
  KR_TRY(name.registry, parse_target(text.substr(0, slash), default_port));
  std::string rest = text.substr(slash + 1);
  name.reference = "latest";
  if (const std::size_t at = rest.find('@'); at != std::string::npos) {
    KR_TRY(const Digest digest, Digest::parse(rest.substr(at + 1)));
    name.reference = digest.str();
    rest.resize(at);
  } else if (const std::size_t colon = rest.rfind(':'); colon != std::string::npos) {
    KR_TRY(const TagName tag, TagName::parse(rest.substr(colon + 1)));
    name.reference = tag.str();
    rest.resize(colon);
  }
  KR_TRY(name.repository, Repository::parse(rest));
  return name;
}

/// The one image of a layout.
Result<Digest> top_of(const fs::path& layout) {
  const fs::path file = layout / "index.json";
  KR_TRY(const std::string text, file::read_all(file, kManifestBytesMax));
  const json index = json::parse(text, nullptr, false);
  if (!index.is_object() || !index.contains("manifests") || !index["manifests"].is_array() || index["manifests"].size() != 1) {
    return fail(Code::kInvalidArgument, "{} must name exactly one image; split it with skopeo copy", file.string());
  }
  const json& only = index["manifests"][0];
  if (!only.is_object() || !only.contains("digest") || !only["digest"].is_string()) {
    return fail(Code::kInvalidArgument, "{} names an image without a digest", file.string());
  }
  return Digest::parse(only["digest"].get<std::string>());
}

fs::path blob_path(const fs::path& layout, const Digest& digest) { return layout / "blobs" / "sha256" / digest.hex(); }

class Pusher {
 public:
  Pusher(fs::path layout, ImageName image) : layout_(std::move(layout)), image_(std::move(image)), progress_("pushing") {}

  Result<Digest> run() {
    KR_TRY(const Digest top, top_of(layout_));
    KR_CHECK(push_manifest(top, image_.reference, 0));
    progress_.finish();
    return top;
  }

 private:
  http::ClientRequest request(http::Method method, const std::string& target) {
    http::ClientRequest out;
    out.method = method;
    out.host = image_.registry.host;
    out.port = image_.registry.port;
    out.target = target;
    out.timeout = std::chrono::minutes(15);
    return out;
  }

  std::string base() const { return "/v2/" + image_.repository.str(); }

  Result<> push_manifest(const Digest& digest, const std::string& reference, int depth) {
    if (depth > kDepthMax) return fail(Code::kInvalidArgument, "indexes are nested too deep");
    KR_TRY(const std::string body, file::read_all(blob_path(layout_, digest), kManifestBytesMax));
    KR_TRY(const Manifest manifest, Manifest::parse(body, ""));
    for (const Descriptor& part : manifest.references) {
      if (!part.is_manifest) progress_.add_total(part.size);
    }
    for (const Descriptor& part : manifest.references) {
      if (part.is_manifest) {
        KR_CHECK(push_manifest(part.digest, part.digest.str(), depth + 1));
      } else {
        KR_CHECK(push_blob(part));
      }
    }
    http::ClientRequest put = request(http::Method::kPut, base() + "/manifests/" + reference);
    put.headers.set("Content-Type", manifest.media_type);
    put.body = body;
    KR_TRY(const Reply reply, caller_.call(std::move(put)));
    if (reply.status != 201) return std::unexpected(error_of(reply, "manifest " + digest.str()));
    return {};
  }

  Result<> push_blob(const Descriptor& blob) {
    if (!seen_.insert(blob.digest).second) {
      progress_.done(blob.digest.str(), blob.size, "there already");
      return {};
    }
    KR_TRY(const Reply there, caller_.call(request(http::Method::kHead, base() + "/blobs/" + blob.digest.str())));
    if (there.status == 200) {
      progress_.done(blob.digest.str(), blob.size, "there already");
      return {};
    }
    KR_TRY(const UniqueFd fd, file::open(blob_path(layout_, blob.digest), O_RDONLY));
    KR_TRY(const std::uint64_t bytes, file::size(fd.get()));
    KR_TRY(const Reply begun, caller_.call(request(http::Method::kPost, base() + "/blobs/uploads/")));
    if (begun.status != 202) return std::unexpected(error_of(begun, "start of an upload"));
    std::string location(begun.headers.first("Location"));
    if (location.starts_with("http")) {
      KR_TRY(const http::Url url, http::parse_url(location));
      location = url.target;
    }
    if (location.empty()) return fail(Code::kProtocol, "the registry's answer to the start of an upload has no Location");
    location += (location.find('?') == std::string::npos ? "?digest=" : "&digest=") + http::query_escape(blob.digest.str());
    http::ClientRequest put = request(http::Method::kPut, location);
    put.headers.set("Content-Type", "application/octet-stream");
    std::uint64_t offset = 0;
    // Read here instead of by sendfile, so that the bar moves.
    put.body = http::BodySource{.read = [&fd, &offset, this](std::span<char> into) -> net::Task<std::size_t> {
                                  return read_some(fd.get(), into, offset);
                                },
                                .length = bytes};
    KR_TRY(const Reply done, caller_.call(std::move(put)));
    if (done.status != 201) return std::unexpected(error_of(done, "blob " + blob.digest.str()));
    progress_.done(blob.digest.str(), bytes, "pushed");
    return {};
  }

  net::Task<std::size_t> read_some(int fd, std::span<char> into, std::uint64_t& offset) {
    KR_CO_TRY(const std::size_t bytes, file::read_at(fd, into, offset));
    offset += bytes;
    progress_.moved(bytes);
    co_return bytes;
  }

  fs::path layout_;
  ImageName image_;
  Progress progress_;
  std::set<Digest> seen_;
  Caller caller_;
};

class Puller {
 public:
  Puller(ImageName image, fs::path layout) : image_(std::move(image)), layout_(std::move(layout)), progress_("pulling") {}

  Result<Digest> run() {
    KR_CHECK(file::make_folders(layout_ / "blobs" / "sha256"));
    KR_TRY(const Descriptor top, pull_manifest(image_.reference, 0));
    json index{{"schemaVersion", 2},
               {"mediaType", "application/vnd.oci.image.index.v1+json"},
               {"manifests", json::array({{{"mediaType", top.media_type}, {"digest", top.digest.str()}, {"size", top.size}}})}};
    if (!image_.reference.starts_with("sha256:")) {
      index["manifests"][0]["annotations"] = {{"org.opencontainers.image.ref.name", image_.reference}};
    }
    KR_CHECK(file::replace(layout_ / "index.json", index.dump(2) + "\n"));
    KR_CHECK(file::replace(layout_ / "oci-layout", "{\"imageLayoutVersion\": \"1.0.0\"}\n"));
    progress_.finish();
    return top.digest;
  }

 private:
  http::ClientRequest request(const std::string& target) {
    http::ClientRequest out;
    out.host = image_.registry.host;
    out.port = image_.registry.port;
    out.target = target;
    out.timeout = std::chrono::minutes(15);
    return out;
  }

  std::string base() const { return "/v2/" + image_.repository.str(); }

  Result<Descriptor> pull_manifest(const std::string& reference, int depth) {
    if (depth > kDepthMax) return fail(Code::kInvalidArgument, "indexes are nested too deep");
    http::ClientRequest get = request(base() + "/manifests/" + reference);
    get.headers.set("Accept", kAccept);
    KR_TRY(const Reply reply, caller_.call(std::move(get)));
    if (reply.status != 200) return std::unexpected(error_of(reply, image_.repository.str() + ":" + reference));
    KR_TRY(const Manifest manifest, Manifest::parse(reply.body, ""));
    const Descriptor out{.digest = Digest::of(reply.body), .size = reply.body.size(), .media_type = manifest.media_type, .is_manifest = true};
    if (reference.starts_with("sha256:") && out.digest.str() != reference) {
      return fail(Code::kDigestMismatch, "the registry answered {} for {}", out.digest.str(), reference);
    }
    for (const Descriptor& part : manifest.references) {
      if (!part.is_manifest) progress_.add_total(part.size);
    }
    for (const Descriptor& part : manifest.references) {
      if (part.is_manifest) {
        KR_CHECK(pull_manifest(part.digest.str(), depth + 1));
      } else {
        KR_CHECK(pull_blob(part));
      }
    }
    KR_CHECK(file::replace(blob_path(layout_, out.digest), reply.body));
    return out;
  }

  Result<> pull_blob(const Descriptor& blob) {
    const fs::path path = blob_path(layout_, blob.digest);
    if (fs::exists(path)) {
      progress_.done(blob.digest.str(), blob.size, "there already");
      return {};
    }
    const fs::path part = path.string() + ".part";
    KR_TRY(const UniqueFd fd, file::open(part, O_CREAT | O_TRUNC | O_WRONLY));
    Sha256 hasher;
    std::uint64_t offset = 0;
    KR_TRY(const Reply reply, caller_.fetch(request(base() + "/blobs/" + blob.digest.str()), [&](std::string_view bytes) -> Result<> {
      hasher.update(bytes);
      KR_CHECK(file::write_at(fd.get(), bytes, offset));
      offset += bytes.size();
      progress_.moved(bytes.size());
      return {};
    }));
    if (reply.status != 200) return std::unexpected(error_of(reply, "blob " + blob.digest.str()));
    if (hasher.finish() != blob.digest) {
      ::unlink(part.c_str());
      return fail(Code::kDigestMismatch, "the {} bytes that came for {} are not it; nothing was kept", offset, blob.digest.str());
    }
    if (::rename(part.c_str(), path.c_str()) != 0) return fail_errno(errno, "rename to " + path.string());
    progress_.done(blob.digest.str(), offset, "pulled");
    return {};
  }

  ImageName image_;
  fs::path layout_;
  Progress progress_;
  Caller caller_;
};

struct Words {
  std::string from;
  std::string to;
};

int told(const Result<Digest>& digest, const char* what) {
  if (!digest) return report(digest.error(), what);
  fmt::print("{}\n", digest->str());
  return kExitOk;
}

}  // namespace

void add_push(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* command = app.add_subcommand("push", "Push an OCI image layout to a registry");
  command->add_option("layout", words->from, "Folder with oci-layout, index.json and blobs/")->required();
  command->add_option("image", words->to, "host[:15000]/repository:tag")->required();
  command->footer("Example:\n  skopeo copy docker://debian:12 oci:debian\n  kraken push debian 127.0.0.1/library/debian:12\n\nPrints the manifest's digest.");
  command->callback([&invocation, words] {
    invocation.run = [words] {
      auto image = parse_image(words->to, 15000);
      if (!image) return report(image.error()), int{kExitUsage};
      return told(Pusher(words->from, *std::move(image)).run(), "push");
    };
  });
}

void add_pull(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* command = app.add_subcommand("pull", "Pull an image into an OCI image layout, every byte checked");
  command->add_option("image", words->from, "host[:16000]/repository:tag, or ...@sha256:<hex>")->required();
  command->add_option("layout", words->to, "Folder to make or add to")->required();
  command->footer("Example:\n  kraken pull localhost/library/debian:12 /tmp/debian\n\nPrints the manifest's digest. A blob that is in the folder already is not fetched again.");
  command->callback([&invocation, words] {
    invocation.run = [words] {
      auto image = parse_image(words->from, 16000);
      if (!image) return report(image.error()), int{kExitUsage};
      return told(Puller(*std::move(image), words->to).run(), "pull");
    };
  });
}

}  // namespace kraken::tools
