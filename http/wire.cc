#include "http/wire.h"

#include <charconv>

namespace kraken::http {

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  if (value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos) {
    out += value;
  } else {
    for (const char c : value) out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  }
  out += "\r\n";
}

void append_number(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

void append_chunk_head(std::string& out, std::uint64_t bytes) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, bytes, 16).ptr;
  out.append(digits, end);
  out += "\r\n";
}

}  // namespace kraken::http
