#include "src/metadata/state/commands.h"

#include "src/metadata/state/codec.h"

namespace kraken::metadata::state {
namespace {

// In the order of the variant; the numbers are in logs.
constexpr std::array<codec::Type, std::variant_size_v<Command>> kTypes{{
    {1, "arrive"},       {2, "commit"},           {3, "renew"},       {4, "expire"},
    {5, "add_ref"},      {6, "remove_ref"},       {7, "verified"},    {8, "condemn"},
    {9, "delete"},       {10, "delete_blob"},     {11, "enter"},      {12, "leave"},
    {13, "lost"},        {14, "suspect"},         {15, "backed"},     {32, "put_manifest"},
    {33, "retag"},       {34, "delete_manifest"}, {35, "delete_tag"}, {36, "clear_tombstone"},
    {64, "tick"},        {65, "peer_batch"},      {66, "add_task"},   {67, "claim_task"},
    {68, "finish_task"}, {69, "postpone_task"},
}};

}  // namespace

std::string_view name(const Command& command) { return kTypes[command.index()].name; }

std::string encode(const Command& command) { return codec::encode_variant(command, kTypes); }

Result<Command> decode_command(std::string_view bytes) {
  return codec::decode_variant<Command>(bytes, kTypes, "command");
}

const Digest* sharded_by_digest(const Command& command) {
  return std::visit(
      [](const auto& c) -> const Digest* {
        if constexpr (requires { c.digest; })
          return &c.digest;
        else
          return nullptr;
      },
      command);
}

const Repository* sharded_by_repository(const Command& command) {
  return std::visit(
      [](const auto& c) -> const Repository* {
        if constexpr (requires { c.repository; })
          return &c.repository;
        else
          return nullptr;
      },
      command);
}

}  // namespace kraken::metadata::state
