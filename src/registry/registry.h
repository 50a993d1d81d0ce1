#pragma once
// The OCI distribution API (distribution-spec 1.1), over interfaces: the proxy of a node serves push and pull from the
// cluster, an agent serves pull from its swarm. Handlers check names and digests, speak HTTP and OCI's errors; what is
// behind the interfaces decides what exists.
//
// Threads: handlers run on the loop of their connection, several loops at once; every interface must allow that. The
// objects behind Interfaces must outlive the server. Each call is awaited in place and has the implementation's
// deadline. Errors that the handlers tell apart: kNotFound (404), kUnavailable and kDeadlineExceeded (503), kOverloaded
// (429), both with Retry-After, kOutcomeUnknown (504), kDiskFull (507), kTooLarge (413), kDigestMismatch (400
// DIGEST_INVALID), kConflict (409), kRangeNotSatisfiable (416), kInvalidArgument (400), kUnsupported (405); the rest
// are 500.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "src/base/clock.h"
#include "src/core/digest.h"
#include "src/core/manifest.h"
#include "src/core/names.h"
#include "src/net/task.h"

namespace kraken::http {
class Exchange;
class Router;
}  // namespace kraken::http

namespace kraken::registry {

/// What stands behind /manifests/.
using Reference = std::variant<TagName, Digest>;

/// The next bytes of a BlobSource: `bytes` of them, from `offset` in the file `fd`, or, where fd is -1, at the start of
/// the buffer that was passed. bytes == 0: the end.
struct Slice {
  int fd = -1;  // stays the source's; open at least until the next call
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

/// One blob being sent to one client. One owner, one call at a time.
class BlobSource {
 public:
  virtual ~BlobSource() = default;
  /// Of the whole blob.
  virtual std::uint64_t bytes() const = 0;
  /// What `next` shall give: [first, first + count). At most once, before the first `next`; without it, everything.
  /// REQUIRES: first + count <= bytes().
  virtual net::Task<> select(std::uint64_t first, std::uint64_t count) = 0;
  /// Waits until some bytes are there. An error means that the rest cannot be had: the connection is closed.
  virtual net::Task<Slice> next(std::span<char> buffer) = 0;
};

class BlobReader {
 public:
  virtual ~BlobReader() = default;
  /// Bytes of the blob; kNotFound only when a linearizable read found no record (design §7).
  virtual net::Task<std::uint64_t> stat(Repository repository, Digest digest) = 0;
  virtual net::Task<std::unique_ptr<BlobSource>> open(Repository repository, Digest digest) = 0;
  /// The whole of a small blob, checked against its digest. kTooLarge beyond bytes_max. The default reads `open`.
  virtual net::Task<std::string> read(Repository repository, Digest digest, std::uint64_t bytes_max);
};

/// A request body: fills from the start, 0 is the end. An early close is an error.
using BodyReader = std::function<net::Task<std::size_t>(std::span<char>)>;

/// Upload sessions. A session lives on one node; its id says on which (UploadId).
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  virtual net::Task<UploadId> start(Repository repository) = 0;
  /// Bytes received so far. kNotFound: no such session here.
  virtual net::Task<std::uint64_t> status(Repository repository, UploadId id) = 0;
  /// Appends the body at `offset` (nullopt: wherever the session stands), exactly `length` bytes where given, and
  /// answers the new size. kRangeNotSatisfiable if the session does not stand at `offset`, kConflict if another request
  /// is writing to it, kInvalidArgument for a body shorter than `length`.
  virtual net::Task<std::uint64_t> append(Repository repository, UploadId id, std::optional<std::uint64_t> offset,
                                          std::optional<std::uint64_t> length, BodyReader body) = 0;
  /// The whole push of design §6; when it returns, the blob is on a write quorum and its record is committed.
  virtual net::Task<> finish(Repository repository, UploadId id, Digest digest) = 0;
  virtual net::Task<> cancel(Repository repository, UploadId id) = 0;
  /// Makes an existing blob the repository's: false where there is none to mount. A condemned one is renewed.
  virtual net::Task<bool> mount(Repository repository, Digest digest, std::optional<Repository> from) = 0;
  /// kConflict while something refers to it.
  virtual net::Task<> remove(Repository repository, Digest digest) = 0;

  virtual bool is_local(UploadId id) const = 0;
  /// Sends the request, as it is, to the node that holds the session, and its answer to the client. An error before
  /// anything was answered: kNotFound, kUnavailable where that node is gone (the handler answers BLOB_UPLOAD_UNKNOWN).
  virtual net::Task<> forward(http::Exchange& exchange, UploadId id) = 0;
};

/// What a tag points to. `revision` grows with each change of the tag, from 1; 0 where it is not known (by digest,
/// agents).
struct TagValue {
  Digest digest;
  std::uint64_t revision = 0;
};

/// Of an answer that is a replica's own word: how long ago it last knew itself up to date (none: not since it started), and
/// the log index up to which it has everything.
struct Staleness {
  std::optional<Duration> age;
  std::uint64_t index = 0;
};

struct ManifestContent {
  Digest digest;
  std::string media_type;
  std::string body;
  std::uint64_t revision = 0;
  std::optional<Staleness> stale = std::nullopt;  // none: linearizable
};

/// Of a put or delete by tag. Neither member set: no condition.
struct Precondition {
  std::optional<std::uint64_t> revision;  // the tag's; 0: the tag must not exist
  std::optional<Digest> digest;           // what the tag must point to
  bool any() const { return revision || digest; }
};

struct ManifestPut {
  Repository repository;
  std::vector<TagName> tags;  // empty: by digest alone
  Digest digest;              // of body; checked
  Manifest manifest;          // parsed from body
  std::string body;
  Precondition precondition;  // concerns tags[0]
};

struct PutOutcome {
  enum class What : std::uint8_t { kStored, kReferencesMissing, kConflict };
  What what = What::kStored;
  std::uint64_t revision = 0;
  std::vector<Digest> missing;
  std::optional<TagValue> winner;  // of a conflict; nullopt: the tag does not exist
};

struct RemoveOutcome {
  bool conflict = false;
  std::optional<TagValue> winner;
};

class Manifests {
 public:
  virtual ~Manifests() = default;
  virtual net::Task<ManifestContent> get(Repository repository, Reference reference) = 0;
  /// The tag as some replica has it, with or without a quorum.
  virtual net::Task<ManifestContent> get_stale(Repository repository, TagName tag) = 0;
  virtual net::Task<PutOutcome> put(ManifestPut put) = 0;
  virtual net::Task<RemoveOutcome> remove(Repository repository, Reference reference, Precondition precondition) = 0;
};

/// Names in byte order. `more`: there are further ones after the last.
struct Page {
  std::vector<std::string> names;
  bool more = false;
};

class Tags {
 public:
  virtual ~Tags() = default;
  /// At most `count` tags behind `after` ("": from the first). kNotFound where the repository is not known.
  virtual net::Task<Page> list(Repository repository, std::string after, std::size_t count) = 0;
  virtual net::Task<Page> catalog(std::string after, std::size_t count) = 0;
};

enum class Mode : std::uint8_t { kPushPull, kPullOnly };

/// `writer` may be null with kPullOnly.
struct Interfaces {
  BlobReader* reader = nullptr;
  BlobWriter* writer = nullptr;
  Manifests* manifests = nullptr;
  Tags* tags = nullptr;
};

inline constexpr std::size_t kPageMax = 1000;

/// Everything below /v2/. With kPullOnly whatever writes answers 405 UNSUPPORTED.
void add_routes(http::Router& router, Interfaces interfaces, Mode mode);

}  // namespace kraken::registry
