#pragma once
// Router: which handler answers a method and path.
//
// A pattern is a path whose segments are literal, `<x>` (captures one segment) or `<x...>` (captures one or more; at
// most one per pattern): "/v2/<name...>/blobs/<digest>". The raw path is split at '/' first, then each segment is
// percent-decoded, and once more if it still holds an escape (stock: facts §1.0), so that an encoded slash never
// splits. `<x...>` is its decoded segments joined by '/'. What a capture may hold ("..", NUL) is the handler's business.
// Of several patterns that match, the one with more literal segments wins, then the earlier one.
// Threads: built by one, then constant.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/exchange.h"
#include "http/headers.h"

namespace kraken::http {

using Handler = std::function<net::Task<void>(Exchange&)>;

class Router {
 public:
  Router();
  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;
  ~Router();

  /// GET does not answer HEAD unless it is added too. REQUIRES: pattern begins with '/', same method and pattern once.
  void add(Method method, std::string pattern, Handler handler);
  /// All routes of `other` too, behind the ones that are here.
  void merge(const Router& other);

  struct Match {
    const Handler* handler = nullptr;   // null: see the rest
    std::vector<std::string> params;
    std::string allow;                  // not empty: the path is known, the method is not (405), these are allowed
    std::string error;                  // not empty: 400, "param digest is required" or "path unescape ..."
    std::string_view pattern;           // of the route that matched
  };
  /// No handler, no allow and no error: 404.
  Match find(Method method, std::string_view raw_path) const;

 private:
  struct Route;
  std::vector<std::shared_ptr<const Route>> routes_;
};

}  // namespace kraken::http
