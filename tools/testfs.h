#pragma once
// The development backend: files over HTTP, as stock Kraken's testfs (facts §1.8). No durability, no authentication; for
// trials and tests.
//
//   GET /health                 "OK\n"
//   HEAD /files/<path>          header Size: <bytes>, or 404
//   GET  /files/<path>          the bytes, or 404
//   POST /files/<path>          stores the body, which appears whole or not at all
//   GET  /list/<path>           JSON array of the files below, relative to <path>
// ':' in a path stands for '/'. A path that leaves the folder is 400.

#include <filesystem>

namespace kraken::http {
class Router;
}
namespace kraken::net {
class FilePool;
}

namespace kraken::tools {

/// `root` exists. The pool outlives the server.
void add_testfs_routes(http::Router& router, std::filesystem::path root, net::FilePool& pool);

}  // namespace kraken::tools
