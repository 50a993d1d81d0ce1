#pragma once
// Stock's listings (facts §1.6): {"Links":{"next":..,"self":..},"size":N,"result":[..]|null}, and what the path behind
// /list/ means when there is no backend's file tree to look into.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/headers.h"
#include "src/build_index/routes.h"

namespace kraken::build_index {

struct ListRequest {
  bool paged = false;       // limit or offset was given
  std::size_t limit = 250;  // names, of one page
  std::string offset;       // the last name of the page before
};
/// kInvalidArgument for any other query key, a repeated one, or a limit that is no number above 0.
Result<ListRequest> parse_list_request(const http::RequestHead& request);

/// What a prefix names. "a/b/_manifests/tags" (with a '/' in front or not): the tags of a/b. "": everything. Any other:
/// the repository of that name and those below it.
struct Prefix {
  std::optional<Repository> repository;  // exactly this
  std::string below;                     // else: these; "" for all
};
Result<Prefix> parse_prefix(std::string_view prefix);

/// "repository:tag" in order, at most `count` behind `after`; `more` says whether there are further ones.
net::Task<registry::Page> list_tags(TagStore& tags, Prefix prefix, std::string after, std::size_t count);

/// `next` is the offset of the next page, "" for none.
std::string listing_json(const http::RequestHead& request, const ListRequest& asked,
                         const std::vector<std::string>& names, const std::string& next);

}  // namespace kraken::build_index
