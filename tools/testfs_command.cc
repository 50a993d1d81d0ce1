#include <cstdio>

#include <CLI/CLI.hpp>

#include "http/errors.h"
#include "http/server.h"
#include "src/base/file.h"
#include "src/net/file_pool.h"
#include "src/net/listen.h"
#include "src/net/loop.h"
#include "tools/command.h"
#include "tools/signals.h"
#include "tools/testfs.h"

namespace kraken::tools {
namespace {

struct Words {
  std::string host = "127.0.0.1";
  std::uint16_t port = 14000;
  std::string folder = "/tmp/kraken-testfs";
};

int serve(const Words& words) {
  block_stop_signals();
  if (auto allowed = net::check_bind(words.host, false); !allowed) return report(allowed.error());
  if (auto made = file::make_folders(words.folder); !made) return report(made.error());
  net::Loops loops(1, "testfs");
  net::FilePool pool(2, 256);
  http::Router router;
  add_testfs_routes(router, words.folder, pool);
  http::Server server(loops, pool, std::move(router), http::Limits{}, http::plain_error, "testfs");
  if (auto bound = server.listen(words.host, words.port); !bound) return report(bound.error());
  fmt::print("kraken testfs: http://{}:{} serves {}\n", words.host, server.port(), words.folder);
  std::fflush(stdout);
  wait_for_stop();
  server.stop(std::chrono::seconds(5));
  loops.stop();
  return kExitOk;
}

}  // namespace

void add_testfs(CLI::App& app, Invocation& invocation) {
  auto words = std::make_shared<Words>();
  CLI::App* command = app.add_subcommand("testfs", "The development backend: files over HTTP, for trials and tests");
  command->add_option("--host", words->host, "Address to bind; loopback only")->capture_default_str();
  command->add_option("--port", words->port, "Port to bind; 0 takes any")->capture_default_str();
  command->add_option("--root", words->folder, "Folder of the files")->capture_default_str();
  command->footer("Example:\n  kraken testfs --root /tmp/files &\n  curl -d hello http://127.0.0.1:14000/files/a/b");
  command->callback([&invocation, words] { invocation.run = [words] { return serve(*words); }; });
}

}  // namespace kraken::tools
