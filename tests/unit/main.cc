// The unit tests' main: GoogleTest's, with the product's own lines held back, so that what a failing program prints is the failure.
//   KRAKEN_TEST_LOG=1 ctest --test-dir build/release -R NAME --verbose     shows them
// As the product does (tools/main.cc), a write to a connection that is gone is an error, not the end of the process.
#include <csignal>
#include <cstdlib>

#include <gtest/gtest.h>

#include "src/base/log.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  if (std::getenv("KRAKEN_TEST_LOG") == nullptr)
    kraken::log::configure(kraken::log::Level::kWarn, kraken::log::Format::kConsole, "test");
  return RUN_ALL_TESTS();
}
