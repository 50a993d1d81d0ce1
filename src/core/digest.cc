#include "src/core/digest.h"

#include <libdeflate.h>
#include <openssl/evp.h>
#include <zlib.h>

#include <memory>

#include "src/base/assert.h"
#include "src/base/hex.h"

namespace kraken {
namespace {

/// What EVP_sha256() and the like name is looked up, under a lock, by each hash that is begun: once is enough.
const EVP_MD* fetch(const char* name) {
  const EVP_MD* algorithm = EVP_MD_fetch(nullptr, name, nullptr);
  KR_ASSERT(algorithm != nullptr);
  return algorithm;
}

const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = fetch("SHA256");
  return algorithm;
}

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

/// For names of a few bytes, each with every request: nothing is allocated.
template <std::size_t size>
std::array<std::uint8_t, size> hash_at_once(const EVP_MD* algorithm, std::string_view bytes) {
  thread_local const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  std::array<std::uint8_t, size> out{};
  unsigned length = 0;
  KR_ASSERT(EVP_DigestInit_ex(context.get(), algorithm, nullptr) == 1 && EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1 &&
            EVP_DigestFinal_ex(context.get(), out.data(), &length) == 1 && length == size);
  return out;
}

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  if (!text.starts_with(kPrefix)) {
    return fail(Code::kInvalidArgument, "a digest is sha256:<64 hexadecimal digits>, this is \"{:.80}\"", text);
  }
  return from_hex(text.substr(kPrefix.size()));
}

Result<Digest> Digest::from_hex(std::string_view hex) {
  Raw raw;
  if (!kraken::from_hex(hex, raw)) {
    return fail(Code::kInvalidArgument, "a SHA-256 is 64 hexadecimal digits, this is \"{:.80}\"", hex);
  }
  return Digest(raw);
}

Result<Digest> Digest::from_raw(std::string_view raw) {
  Raw bytes;
  if (raw.size() != bytes.size()) return fail(Code::kInvalidArgument, "a digest is 32 bytes, not {}", raw.size());
  std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(bytes.data()));
  return Digest(bytes);
}

Digest Digest::of(std::string_view bytes) { return Digest(hash_at_once<32>(sha256_algorithm(), bytes)); }

std::string Digest::hex() const { return to_hex(raw_); }
std::string Digest::str() const { return "sha256:" + hex(); }

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) { KR_ASSERT(context != nullptr); }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  EVP_MD_CTX* context;
};

namespace {

Digest final_digest(EVP_MD_CTX* context) {
  Digest::Raw raw;
  unsigned length = 0;
  KR_ASSERT(EVP_DigestFinal_ex(context, raw.data(), &length) == 1 && length == raw.size());
  return Digest(raw);
}

}  // namespace

Sha256::Sha256() : state_(std::make_unique<State>()) {
  KR_ASSERT(EVP_DigestInit_ex(state_->context, sha256_algorithm(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
  KR_ASSERT(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

Digest Sha256::finish() { return final_digest(state_->context); }

Digest Sha256::peek() const {
  const State copy;
  KR_ASSERT(EVP_MD_CTX_copy_ex(copy.context, state_->context) == 1);
  return final_digest(copy.context);
}

std::array<std::uint8_t, 20> sha1(std::string_view bytes) {
  static const EVP_MD* const algorithm = fetch("SHA1");
  return hash_at_once<20>(algorithm, bytes);
}

std::array<std::uint8_t, 16> md5(std::string_view bytes) {
  static const EVP_MD* const algorithm = fetch("MD5");
  return hash_at_once<16>(algorithm, bytes);
}

std::uint32_t crc32(std::string_view bytes, std::uint32_t so_far) {
  return ::libdeflate_crc32(so_far, bytes.data(), bytes.size());  // by the processor's carry-less multiplication: zlib's is many times slower
}

std::uint32_t crc32_combine(std::uint32_t first, std::uint32_t second, std::uint64_t second_bytes) {
  return static_cast<std::uint32_t>(::crc32_combine64(first, second, static_cast<z_off64_t>(second_bytes)));
}

}  // namespace kraken
