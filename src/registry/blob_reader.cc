#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "src/registry/registry.h"

namespace kraken::registry {

net::Task<std::string> BlobReader::read(Repository repository, Digest digest, std::uint64_t bytes_max) {
  auto opened = open(std::move(repository), digest);
  KR_CO_TRY(auto source, co_await std::move(opened));
  if (source->bytes() > bytes_max)
    co_return fail(Code::kTooLarge, "{} has {} bytes, at most {} are read here", digest.str(), source->bytes(),
                   bytes_max);
  std::string content;
  content.reserve(source->bytes());
  std::string buffer(std::min<std::uint64_t>(source->bytes() + 1, 64 * 1024), '\0');
  while (true) {
    auto reading = source->next(buffer);
    KR_CO_TRY(auto slice, co_await std::move(reading));
    if (slice.bytes == 0) break;
    if (slice.fd < 0) {
      content.append(buffer, 0, slice.bytes);
      continue;
    }
    // Small and just written or about to be sent: it is in the page cache, so the loop is not held up.
    const std::size_t before = content.size();
    content.resize(before + slice.bytes);
    for (std::size_t done = 0; done < slice.bytes;) {
      const auto got = ::pread(slice.fd, content.data() + before + done, slice.bytes - done,
                               static_cast<off_t>(slice.offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) co_return fail_errno(errno, digest.str());
      if (got == 0) co_return fail(Code::kCorrupt, "{}: the file is shorter than its record", digest.str());
      done += static_cast<std::size_t>(got);
    }
  }
  if (content.size() != source->bytes() || Digest::of(content) != digest)
    co_return fail(Code::kCorrupt, "{}: what was read has another digest", digest.str());
  co_return content;
}

}  // namespace kraken::registry
