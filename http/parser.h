#pragma once
// Beast's push parser, writing straight into our own types. Private to http/ (it includes Beast).
// Fields behind the last chunk (trailers) are dropped: whoever added them could smuggle a header past a check.

#include <boost/beast/http/basic_parser.hpp>

#include <cstring>
#include <span>
#include <string>

#include "http/headers.h"
#include "src/base/error.h"

namespace kraken::http {

template <bool is_request>
class MessageParser final : public boost::beast::http::basic_parser<is_request> {
  using ErrorCode = boost::beast::error_code;
  using Text = boost::beast::string_view;

 public:
  MessageParser(Headers& headers, std::size_t header_bytes_max) : headers_(headers) {
    this->header_limit(static_cast<std::uint32_t>(header_bytes_max));
    this->body_limit(boost::none);
    this->eager(false);
  }

  std::string_view method() const { return method_; }
  std::string_view target() const { return target_; }
  int status() const { return status_; }
  /// 10 or 11.
  int version() const { return version_; }

  /// Where the body goes from now on.
  void sink(std::span<char> into) {
    sink_ = into;
    sunk_ = 0;
  }
  std::size_t sunk() const { return sunk_; }

 private:
  void on_request_impl(boost::beast::http::verb, Text method, Text target, int version, ErrorCode& ec) override {
    ec = {};
    method_.assign(method.data(), method.size());
    target_.assign(target.data(), target.size());
    version_ = version;
  }
  void on_response_impl(int status, Text, int version, ErrorCode& ec) override {
    ec = {};
    status_ = status;
    version_ = version;
  }
  void on_field_impl(boost::beast::http::field, Text name, Text value, ErrorCode& ec) override {
    ec = {};
    if (!header_done_) headers_.add(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  }
  void on_header_impl(ErrorCode& ec) override {
    ec = {};
    header_done_ = true;
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode& ec) override { ec = {}; }
  std::size_t on_body_impl(Text body, ErrorCode& ec) override { return take(body, ec); }
  void on_chunk_header_impl(std::uint64_t, Text, ErrorCode& ec) override { ec = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, Text body, ErrorCode& ec) override { return take(body, ec); }
  void on_finish_impl(ErrorCode& ec) override { ec = {}; }

  std::size_t take(Text body, ErrorCode& ec) {
    const auto n = std::min(body.size(), sink_.size() - sunk_);
    std::memcpy(sink_.data() + sunk_, body.data(), n);
    sunk_ += n;
    ec = {};
    if (n < body.size()) ec = boost::beast::http::error::need_buffer;
    return n;
  }

  Headers& headers_;
  std::string method_;
  std::string target_;
  int status_ = 0;
  int version_ = 11;
  bool header_done_ = false;
  std::span<char> sink_;
  std::size_t sunk_ = 0;
};

}  // namespace kraken::http
