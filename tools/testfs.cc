#include "tools/testfs.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "http/router.h"
#include "src/base/file.h"
#include "src/net/file_pool.h"

namespace kraken::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = 256 << 10;

/// The file a path means; kInvalidArgument if it would lie outside.
Result<fs::path> locate(const fs::path& root, std::string name) {
  std::replace(name.begin(), name.end(), ':', '/');
  if (name.find('\0') != std::string::npos) return fail(Code::kInvalidArgument, "a path cannot hold NUL");
  fs::path out = root;
  for (const fs::path& part : fs::path(name).relative_path()) {
    if (part == "..") return fail(Code::kInvalidArgument, "{} leaves the folder", name);
    if (part != ".") out /= part;
  }
  return out;
}

struct Opened {
  UniqueFd fd;
  std::uint64_t bytes = 0;
};

Result<Opened> open_file(const fs::path& path) {
  std::error_code ec;
  if (!fs::is_regular_file(path, ec)) return fail(Code::kNotFound, "{} is not there", path.string());
  Opened opened;
  KR_TRY(opened.fd, file::open(path, O_RDONLY));
  KR_TRY(opened.bytes, file::size(opened.fd.get()));
  return opened;
}

class TestFs {
 public:
  TestFs(fs::path root, net::FilePool& pool) : root_(std::move(root)), pool_(pool) {}

  net::Task<void> head(http::Exchange& exchange) {
    KR_CO_TRY(const fs::path path, locate(root_, exchange.param(0)));
    KR_CO_TRY(const Opened opened, co_await pool_.run([&path] { return open_file(path); }));
    http::Headers headers{{"Size", std::to_string(opened.bytes)}};
    co_return co_await exchange.reply(200, std::move(headers), "");
  }

  net::Task<void> get(http::Exchange& exchange) {
    KR_CO_TRY(const fs::path path, locate(root_, exchange.param(0)));
    KR_CO_TRY(const Opened opened, co_await pool_.run([&path] { return open_file(path); }));
    http::Headers headers{{"Content-Type", "application/octet-stream"}};
    co_return co_await exchange.reply_file(200, std::move(headers), opened.fd.get(), 0, opened.bytes);
  }

  net::Task<void> post(http::Exchange& exchange) {
    KR_CO_TRY(const fs::path path, locate(root_, exchange.param(0)));
    const fs::path part = root_ / fmt::format(".part-{}-{}", ::getpid(), counter_++);
    auto stored = co_await store(exchange, path, part);
    if (!stored) {
      ::unlink(part.c_str());
      co_return stored;
    }
    co_return co_await exchange.reply(200);
  }

  net::Task<void> list(http::Exchange& exchange, std::string name) {
    KR_CO_TRY(const fs::path path, locate(root_, std::move(name)));
    KR_CO_TRY(std::string body, co_await pool_.run([&path] { return list_files(path); }));
    http::Headers headers{{"Content-Type", "application/json"}};
    co_return co_await exchange.reply(200, std::move(headers), std::move(body));
  }

 private:
  net::Task<void> store(http::Exchange& exchange, fs::path path, fs::path part) {
    KR_CO_TRY(const UniqueFd fd, file::open(part, O_CREAT | O_TRUNC | O_WRONLY));
    std::vector<char> buffer(kBufferBytes);
    std::uint64_t offset = 0;
    for (;;) {
      KR_CO_TRY(const std::size_t bytes, co_await exchange.read(buffer));
      if (bytes == 0) break;
      KR_CO_CHECK(co_await pool_.run([&] { return file::write_at(fd.get(), {buffer.data(), bytes}, offset); }));
      offset += bytes;
    }
    co_return co_await pool_.run([&]() -> Result<> {
      KR_CHECK(file::make_folders(path.parent_path()));
      if (::rename(part.c_str(), path.c_str()) != 0) return fail_errno(errno, "rename to " + path.string());
      return {};
    });
  }

  static Result<std::string> list_files(const fs::path& path) {
    nlohmann::json names = nlohmann::json::array();
    std::error_code ec;
    for (auto it = fs::recursive_directory_iterator(path, ec); !ec && it != fs::recursive_directory_iterator(); it.increment(ec)) {
      if (it->is_regular_file(ec) && !it->path().filename().string().starts_with(".part-")) {
        names.push_back(it->path().lexically_relative(path).string());
      }
    }
    std::sort(names.begin(), names.end());
    return names.dump() + "\n";
  }

  const fs::path root_;
  net::FilePool& pool_;
  std::atomic<std::uint64_t> counter_{0};
};

}  // namespace

void add_testfs_routes(http::Router& router, fs::path root, net::FilePool& pool) {
  auto files = std::make_shared<TestFs>(std::move(root), pool);
  using http::Method;
  router.add(Method::kGet, "/health", [](http::Exchange& exchange) { return exchange.reply(200, {}, "OK\n"); });
  router.add(Method::kHead, "/files/<path...>", [files](http::Exchange& exchange) { return files->head(exchange); });
  router.add(Method::kGet, "/files/<path...>", [files](http::Exchange& exchange) { return files->get(exchange); });
  router.add(Method::kPost, "/files/<path...>", [files](http::Exchange& exchange) { return files->post(exchange); });
  router.add(Method::kGet, "/list/<path...>", [files](http::Exchange& exchange) { return files->list(exchange, exchange.param(0)); });
  router.add(Method::kGet, "/list", [files](http::Exchange& exchange) { return files->list(exchange, ""); });
  router.add(Method::kGet, "/list/", [files](http::Exchange& exchange) { return files->list(exchange, ""); });
}

}  // namespace kraken::tools
