#pragma once
// Preload: the container runtime of this host is asked to pull an image through this agent (facts §1.4). Docker over its
// unix socket; containerd's API is gRPC and not spoken yet.

#include <cstdint>
#include <string>

#include "src/core/names.h"
#include "src/net/task.h"

namespace kraken::agent {

struct DockerEndpoint {
  std::string host = "unix:///var/run/docker.sock";
  std::string version = "1.21";
};

/// POST /v{version}/images/create?fromImage=<registry>/<repo>&tag=<tag>; waits for the end of the pull. Errors name the
/// socket and what docker said.
net::Task<void> docker_pull(DockerEndpoint docker, std::string registry, QualifiedTag tag, Duration timeout);

}  // namespace kraken::agent
