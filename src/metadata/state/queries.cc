#include "src/metadata/state/queries.h"

#include "src/metadata/state/codec.h"

namespace kraken::metadata::state {
namespace {

// In the order of the variants; the numbers go between nodes of different versions.
constexpr std::array<codec::Type, std::variant_size_v<Query>> kQueries{{
    {1, "get_tag"},
    {2, "list_tags"},
    {3, "list_repositories"},
    {4, "get_manifest"},
    {5, "get_blob"},
    {6, "get_metainfo"},
    {7, "list_blobs"},
    {8, "list_tasks"},
    {9, "list_peers"},
    {10, "get_time"},
}};
constexpr std::array<codec::Type, std::variant_size_v<Answer>> kAnswers{{
    {1, "tag"},
    {2, "tags"},
    {3, "repositories"},
    {4, "manifest"},
    {5, "blob"},
    {6, "metainfo"},
    {7, "blobs"},
    {8, "tasks"},
    {9, "peers"},
    {10, "time"},
    {255, "error"},
}};

}  // namespace

std::string encode(const Query& query) { return codec::encode_variant(query, kQueries); }

Result<Query> decode_query(std::string_view bytes) { return codec::decode_variant<Query>(bytes, kQueries, "query"); }

std::string encode(const Answer& answer) { return codec::encode_variant(answer, kAnswers); }

Result<Answer> decode_answer(std::string_view bytes) {
  return codec::decode_variant<Answer>(bytes, kAnswers, "answer");
}

}  // namespace kraken::metadata::state
