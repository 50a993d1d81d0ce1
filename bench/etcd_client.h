#pragma once
// etcd's KV service over gRPC. Each channel is a connection of its own, as each client of http_rate has one: gRPC would share
// one among channels of the same address. No TLS. Threads: as gRPC's.

#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "bench/etcd.grpc.pb.h"

namespace kraken::bench {

inline std::shared_ptr<grpc::Channel> etcd_channel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return grpc::CreateCustomChannel("ipv4:" + address, grpc::InsecureChannelCredentials(), arguments);
}

/// One unary call, from `start` until its tag comes out of the queue.
template <class Request, class Answer>
struct EtcdCall {
  using Method = std::unique_ptr<grpc::ClientAsyncResponseReader<Answer>> (etcdserverpb::KV::Stub::*)(grpc::ClientContext*, const Request&,
                                                                                                         grpc::CompletionQueue*);
  grpc::ClientContext context;
  Answer answer;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Answer>> reader;

  void start(etcdserverpb::KV::Stub& stub, Method method, const Request& request, grpc::CompletionQueue& queue, void* tag) {
    reader = (stub.*method)(&context, request, &queue);
    reader->Finish(&answer, &status, tag);
  }
};

}  // namespace kraken::bench
