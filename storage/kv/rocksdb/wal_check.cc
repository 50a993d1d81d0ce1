#include "storage/kv/rocksdb/wal_check.h"

#include <fcntl.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "src/base/file.h"
#include "storage/kv/rocksdb/internal.h"

namespace kraken::kv {
namespace {

constexpr std::size_t kBlock = 32 * 1024;
constexpr std::size_t kHeader = 7;  // masked crc32c (4, little-endian), length (2, little-endian), type (1)
constexpr std::uint64_t kFileBytesMax = std::uint64_t{4} << 30;

enum Type : std::uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

std::array<std::array<std::uint32_t, 256>, 8> make_tables() {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78U : crc >> 1;
    tables[0][i] = crc;
  }
  for (std::size_t t = 1; t < 8; ++t)
    for (std::size_t i = 0; i < 256; ++i) tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 0xff];
  return tables;
}

std::uint32_t little32(const char* bytes) {
  const auto at = [&](int i) { return static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[i])); };
  return at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24;
}

/// CRC-32C (Castagnoli), eight bytes at a time: about 1.5 GB/s.
std::uint32_t crc32c_by_table(std::string_view bytes) {
  static const auto tables = make_tables();
  std::uint32_t crc = ~0U;
  while (bytes.size() >= 8) {
    const std::uint32_t low = crc ^ little32(bytes.data());
    const std::uint32_t high = little32(bytes.data() + 4);
    crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^
          tables[3][high & 0xff] ^ tables[2][high >> 8 & 0xff] ^ tables[1][high >> 16 & 0xff] ^ tables[0][high >> 24];
    bytes.remove_prefix(8);
  }
  for (const char c : bytes) crc = crc >> 8 ^ tables[0][(crc ^ static_cast<std::uint8_t>(c)) & 0xff];
  return ~crc;
}

#if defined(__x86_64__)
/// The processor's own: about 8 GB/s.
__attribute__((target("sse4.2"))) std::uint32_t crc32c_by_processor(std::string_view bytes) {
  std::uint64_t crc = 0xffffffffU;
  for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes.data(), sizeof(eight));
    crc = _mm_crc32_u64(crc, eight);
  }
  auto rest = static_cast<std::uint32_t>(crc);
  for (const char c : bytes) rest = _mm_crc32_u8(rest, static_cast<std::uint8_t>(c));
  return ~rest;
}
#endif

std::uint32_t crc32c(std::string_view bytes) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return crc32c_by_processor(bytes);
#endif
  return crc32c_by_table(bytes);
}

std::uint32_t unmask(std::uint32_t masked) {
  const std::uint32_t rotated = masked - 0xa282ead8U;
  return rotated >> 17 | rotated << 15;
}

/// Of the payload, as the header that begins there says.
std::size_t length_of(const char* header) {
  return static_cast<std::size_t>(static_cast<std::uint8_t>(header[4]) | static_cast<std::uint8_t>(header[5]) << 8);
}

struct Fragment {
  Type type{};
  std::size_t bytes = 0;  // header and payload
};

/// The fragment that begins at `at`, if it is one that RocksDB would have written there with our options: not recycled,
/// not compressed, within its block, with the right checksum.
std::optional<Fragment> fragment_at(std::string_view log, std::size_t at) {
  const std::size_t block_end = std::min(log.size(), at - at % kBlock + kBlock);
  if (block_end - at < kHeader) return std::nullopt;
  const char* header = log.data() + at;
  const std::size_t length = length_of(header);
  const auto type = static_cast<std::uint8_t>(header[6]);
  if (type < kFull || type > kLast || at + kHeader + length > block_end) return std::nullopt;
  if (crc32c(log.substr(at + kHeader - 1, length + 1)) != unmask(little32(header))) return std::nullopt;
  return Fragment{static_cast<Type>(type), kHeader + length};
}

/// An offset above `at` where a valid fragment begins, if there is any. First where the fragment at `at` says that it ends,
/// then where the next block begins, where one always does. A damaged length does not tell, and a torn block may be followed
/// by nothing, so then every offset is tried; a CRC of a random 32 KB each, but only on the way through a torn tail.
std::optional<std::size_t> valid_after(std::string_view log, std::size_t at) {
  const std::size_t block_end = at - at % kBlock + kBlock;
  if (at + kHeader <= std::min(log.size(), block_end)) {
    const std::size_t length = length_of(log.data() + at);
    const std::size_t next = at + kHeader + length;
    if (next + kHeader <= std::min(log.size(), block_end) && fragment_at(log, next)) return next;
  }
  if (block_end + kHeader <= log.size() && fragment_at(log, block_end)) return block_end;
  for (std::size_t next = at + 1; next + kHeader <= log.size(); ++next)
    if (fragment_at(log, next)) return next;
  return std::nullopt;
}

}  // namespace

WalScan scan_log(std::string_view log) {
  WalScan scan;
  bool open = false;  // between a first fragment and its last
  std::size_t at = 0;
  const auto bad_at = [&](std::size_t offset) {
    scan.torn = true;
    scan.torn_at = offset;
    if (const auto valid = valid_after(log, offset)) {
      scan.damaged = true;
      scan.damaged_at = offset;
      scan.valid_again_at = *valid;
    }
  };
  while (at < log.size()) {
    const std::size_t left = kBlock - at % kBlock;
    if (left < kHeader) {
      // The trailer of a block, too short for a header, is zeros.
      const std::string_view trailer = log.substr(at, left);
      if (trailer.find_first_not_of('\0') != std::string_view::npos) {
        bad_at(at);
        return scan;
      }
      at += trailer.size();
      if (!open) scan.valid_bytes = at;
      continue;
    }
    const auto fragment = fragment_at(log, at);
    const bool begins = fragment && (fragment->type == kFull || fragment->type == kFirst);
    if (!fragment || begins == open) {
      bad_at(at);
      return scan;
    }
    at += fragment->bytes;
    open = fragment->type == kFirst || fragment->type == kMiddle;
    if (!open) {
      ++scan.records;
      scan.valid_bytes = at;
    }
  }
  if (open) {
    scan.torn = true;
    scan.torn_at = scan.valid_bytes;
  }
  return scan;
}

namespace {

/// Whether the bytes from `at` to the end are a fragment but for its length.
bool only_length_differs(std::string_view log, std::size_t at) {
  if (log.size() - at < kHeader || log.size() - at > kBlock - at % kBlock) return false;
  return crc32c(log.substr(at + kHeader - 1)) == unmask(little32(log.data() + at));
}

Result<std::string> read_log(const std::filesystem::path& path) {
  return file::read_all(path, kFileBytesMax);
}

std::unexpected<Error> refuse(const std::filesystem::path& path, std::uint64_t at, std::string_view why) {
  return fail(Code::kCorrupt,
              "{} is damaged at offset {}: {}. {}", path.string(), at, why, rocks::repair_advice(path.parent_path()));
}

Result<> check_manifest(const std::filesystem::path& folder) {
  auto current = file::read_all(folder / "CURRENT", 4096);
  if (!current) {
    if (current.error().code != Code::kNotFound) return std::unexpected(current.error());
    // RocksDB would begin a new store here. It writes CURRENT before the first log or table.
    std::error_code ec;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ec))
      if (entry.path().extension() == ".sst" || entry.path().extension() == ".log")
        return refuse(folder / "CURRENT", 0, fmt::format("it is missing, and there is {}", entry.path().filename().string()));
    return {};
  }
  while (!current->empty() && current->back() == '\n') current->pop_back();
  const std::filesystem::path path = folder / *current;
  std::error_code ec;
  if (!current->starts_with("MANIFEST-") || current->find('/') != std::string::npos)
    return refuse(folder / "CURRENT", 0, "it does not name a MANIFEST");
  if (!std::filesystem::exists(path, ec)) return refuse(path, 0, "it is missing, and CURRENT names it");
  KR_TRY(const std::string log, read_log(path));
  const WalScan scan = scan_log(log);
  if (scan.damaged)
    return refuse(path, scan.damaged_at,
                  fmt::format("a fragment that is not valid, and a valid one after it at {}", scan.valid_again_at));
  // RocksDB takes a length that goes beyond the end for a write that was cut short, and the tables of that record for lost.
  if (scan.torn && only_length_differs(log, scan.torn_at))
    return refuse(path, scan.torn_at, "the length of its last fragment is wrong");
  return {};
}

}  // namespace

Result<std::vector<TornTail>> check_wals(const std::filesystem::path& folder) {
  std::error_code ec;
  if (!std::filesystem::exists(folder, ec)) return std::vector<TornTail>{};
  std::vector<std::pair<std::uint64_t, std::filesystem::path>> logs;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ec)) {
    const std::string stem = entry.path().stem().string();
    if (entry.path().extension() != ".log" || stem.empty() || stem.size() > 19 ||
        stem.find_first_not_of("0123456789") != std::string::npos)
      continue;
    logs.emplace_back(std::stoull(stem), entry.path());
  }
  if (ec) return fail(Code::kIo, "list {}: {}", folder.string(), ec.message());
  std::ranges::sort(logs);

  KR_CHECK(check_manifest(folder));
  std::vector<TornTail> tails;
  std::uint64_t torn_at = 0;  // in the first of them
  for (const auto& [number, path] : logs) {
    KR_TRY(const std::string log, read_log(path));
    const WalScan scan = scan_log(log);
    if (!tails.empty() && scan.valid_bytes > 0)
      return refuse(tails.front().path, torn_at,
                    fmt::format("a fragment that is not valid, and valid ones after it in {}", path.filename().string()));
    if (scan.damaged)
      return refuse(path, scan.damaged_at,
                    fmt::format("a fragment that is not valid, and a valid one after it at {}", scan.valid_again_at));
    if (!scan.torn) continue;
    if (tails.empty()) torn_at = scan.torn_at;
    tails.push_back({path, scan.valid_bytes});
  }
  return tails;
}

Result<> cut(const TornTail& tail) {
  KR_TRY(const UniqueFd fd, file::open(tail.path, O_WRONLY));
  if (::ftruncate(fd.get(), static_cast<off_t>(tail.valid_bytes)) != 0)
    return fail_errno(errno, fmt::format("truncate {}", tail.path.string()));
  return file::sync(fd.get());
}

}  // namespace kraken::kv
