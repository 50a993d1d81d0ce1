#include "src/core/metainfo.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/base/assert.h"

namespace kraken {

std::uint64_t MetaInfo::piece_bytes(std::uint32_t piece) const {
  KR_ASSERT(piece < piece_count());
  return std::min(piece_length, length - piece_offset(piece));
}

InfoHash MetaInfo::infohash() const {
  std::string text = fmt::format("d6:Lengthi{}e4:Name64:{}11:PieceLengthi{}e9:PieceSumsl", length, digest.hex(), piece_length);
  for (const std::uint32_t sum : piece_sums) fmt::format_to(std::back_inserter(text), "i{}e", sum);
  text += "ee";
  return InfoHash(sha1(text));
}

std::string MetaInfo::json() const {
  std::string text = fmt::format(R"({{"Info":{{"PieceLength":{},"PieceSums":)", piece_length);
  if (piece_sums.empty()) {
    text += "null";
  } else {
    char before = '[';
    for (const std::uint32_t sum : piece_sums) {
      fmt::format_to(std::back_inserter(text), "{}{}", before, sum);
      before = ',';
    }
    text += ']';
  }
  fmt::format_to(std::back_inserter(text), R"(,"Name":"{}","Length":{}}}}})", digest.hex(), length);
  return text;
}

Result<MetaInfo> MetaInfo::parse(std::string_view json) {
  const nlohmann::json document = nlohmann::json::parse(json, nullptr, false);
  const auto bad = [](std::string_view why) { return fail(Code::kInvalidArgument, "metainfo: {}", why); };
  if (!document.is_object() || !document.contains("Info") || !document["Info"].is_object()) return bad("no object \"Info\"");
  const nlohmann::json& info = document["Info"];
  const auto number = [&](const char* key, std::uint64_t& out) {
    const auto found = info.find(key);
    if (found == info.end() || !found->is_number_unsigned()) return false;
    out = found->get<std::uint64_t>();
    return true;
  };
  MetaInfo made;
  if (!number("PieceLength", made.piece_length)) return bad("PieceLength is no number");
  if (!number("Length", made.length)) return bad("Length is no number");
  const auto name = info.find("Name");
  if (name == info.end() || !name->is_string()) return bad("Name is no string");
  KR_TRY(made.digest, Digest::from_hex(name->get_ref<const std::string&>()));
  const auto sums = info.find("PieceSums");
  if (sums != info.end() && !sums->is_null()) {
    if (!sums->is_array() || sums->size() > kPiecesMax) return bad("PieceSums is no array, or too long");
    made.piece_sums.reserve(sums->size());
    for (const nlohmann::json& sum : *sums) {
      if (!sum.is_number_unsigned() || sum.get<std::uint64_t>() > 0xffffffffU) return bad("a piece sum is no 32-bit number");
      made.piece_sums.push_back(sum.get<std::uint32_t>());
    }
  }
  KR_CHECK(made.check());
  return made;
}

Result<> MetaInfo::check() const {
  if (piece_length == 0) return fail(Code::kInvalidArgument, "metainfo: piece length 0");
  const std::uint64_t pieces = length / piece_length + (length % piece_length != 0 ? 1 : 0);
  if (pieces > kPiecesMax) {
    return fail(Code::kTooLarge, "{} bytes are {} pieces of {} bytes, more than {}; raise metainfogen.piece_lengths", length,
                pieces, piece_length, kPiecesMax);
  }
  if (pieces != piece_sums.size()) {
    return fail(Code::kInvalidArgument, "metainfo: {} piece sums where the length makes {}", piece_sums.size(), pieces);
  }
  return {};
}

PieceLengths::PieceLengths() : lengths_{{0, 4u << 20}} {}

Result<PieceLengths> PieceLengths::make(std::map<std::uint64_t, std::uint64_t> lengths) {
  if (lengths.empty()) return fail(Code::kInvalidArgument, "piece_lengths is empty; stock's default is {{0: 4MB}}");
  for (const auto& [size, length] : lengths) {
    if (length == 0 || length % PieceSummer::kUnitBytes != 0) {
      return fail(Code::kInvalidArgument, "piece length {} (for blobs from {} bytes) is no multiple of {} bytes", length, size,
                  PieceSummer::kUnitBytes);
    }
  }
  PieceLengths made;
  made.lengths_ = std::move(lengths);
  return made;
}

std::uint64_t PieceLengths::of(std::uint64_t blob_bytes) const {
  const auto above = lengths_.upper_bound(blob_bytes);
  return above == lengths_.begin() ? above->second : std::prev(above)->second;
}

void PieceSummer::update(std::string_view bytes) {
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kUnitBytes - unit_bytes_);
    unit_ = crc32(part, unit_);
    unit_bytes_ += part.size();
    bytes.remove_prefix(part.size());
    if (unit_bytes_ == kUnitBytes) {
      units_.push_back(unit_);
      unit_ = 0;
      unit_bytes_ = 0;
    }
  }
}

std::vector<std::uint32_t> PieceSummer::finish(std::uint64_t piece_length) const {
  KR_ASSERT(piece_length > 0 && (piece_length % kUnitBytes == 0 || (bytes_ <= kUnitBytes && piece_length >= bytes_)));
  std::vector<std::uint32_t> sums;
  std::uint64_t piece_bytes = 0;
  const auto add = [&](std::uint32_t sum, std::uint64_t sum_bytes) {
    if (piece_bytes == 0) {
      sums.push_back(sum);
    } else {
      sums.back() = crc32_combine(sums.back(), sum, sum_bytes);
    }
    piece_bytes += sum_bytes;
    if (piece_bytes >= piece_length) piece_bytes = 0;
  };
  for (const std::uint32_t unit : units_) add(unit, kUnitBytes);
  if (unit_bytes_ > 0) add(unit_, unit_bytes_);
  return sums;
}

MetaInfo make_metainfo(std::string_view blob, std::uint64_t piece_length) {
  MetaInfo made{.digest = Digest::of(blob), .length = blob.size(), .piece_length = piece_length, .piece_sums = {}};
  for (std::uint64_t at = 0; at < blob.size(); at += piece_length) made.piece_sums.push_back(crc32(blob.substr(at, piece_length)));
  return made;
}

}  // namespace kraken
