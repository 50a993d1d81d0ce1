#pragma once
// Connections between the nodes of a cluster: to each other member one that this node dialled and writes to, and one that the
// member dialled and this node reads from. What is sent is best effort, in order while a connection lasts.
// Members are slots: numbers that stay what they are; more may come while it runs.
//
// A peer's process that ends closes its connections; `down` tells it at once. Queues are bounded: beyond send_queue_bytes the
// oldest Raft messages go, then requests (which their senders repeat). Threads: everything on one loop, callbacks too.
// Frames and handshake: docs/formats/node_frames.md.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "consensus/group/frame.h"
#include "consensus/group/handshake.h"
#include "consensus/group/node.h"
#include "src/net/event.h"
#include "src/net/listen.h"
#include "src/net/loop.h"
#include "src/net/scope.h"

namespace kraken::group {

class Transport {
 public:
  struct Callbacks {
    /// What this node says first on a connection to the peer.
    std::function<Hello(std::size_t peer, Hello::Purpose purpose)> hello;
    /// The answer to who dialled. May wait for the disk.
    std::function<net::Task<Welcome>(Hello hello)> greet;
    /// Judges the answer of who was dialled; an error drops the connection.
    std::function<net::Task<void>(std::size_t peer, Welcome welcome)> welcomed;
    /// A frame of the peer. An error drops the connection.
    std::function<Result<>(std::size_t peer, FrameKind kind, std::string_view payload)> frame;
    std::function<void(std::size_t peer)> up;    // the connection to it stands
    std::function<void(std::size_t peer)> down;  // it broke, or the one from it did: the process may have ended
    /// A connection for snapshots, past its handshake, with what was read beyond it.
    std::function<void(net::Socket socket, std::string rest)> snapshot;
  };

  Transport(net::Loop& loop, std::vector<Member> members, std::size_t self, Timings timings, std::size_t queue_bytes,
            Callbacks callbacks);
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  ~Transport();  // REQUIRES: stopped

  // On the loop.
  void start(net::Acceptor acceptor);
  /// The next slot. REQUIRES: on the loop once started.
  std::size_t add(Member member);
  /// Where to dial, one after the other until one answers. A standing connection stays.
  void set_addresses(std::size_t peer, std::vector<Member> addresses);
  /// The address that answered last.
  const Member& address(std::size_t peer) const { return peers_[peer]->member; }
  bool up(std::size_t peer) const { return peers_[peer]->up; }
  /// Both connections stand.
  bool up_both(std::size_t peer) const { return peers_[peer]->up && peers_[peer]->inbound != nullptr; }
  MonotonicTime heard(std::size_t peer) const { return peers_[peer]->heard; }
  const std::string& refused(std::size_t peer) const { return peers_[peer]->refused; }
  /// Queues whole frames; nothing leaves before flush. Dropped if there is no connection.
  /// droppable: Raft messages. False if it, or an older one, was dropped.
  bool send(std::size_t peer, std::string frames, bool droppable);
  void flush(std::size_t peer);
  std::size_t queued_bytes(std::size_t peer) const { return peers_[peer]->queued; }
  /// Closes the connection from the peer.
  void drop_inbound(std::size_t peer);
  void drop_outbound(std::size_t peer);

  /// From a thread that is not the loop.
  void stop_and_wait();

 private:
  struct Chunk {
    std::string bytes;
    bool droppable = false;
  };
  struct Inbound;
  struct Peer {
    explicit Peer(Member who) : member(std::move(who)) {}
    Member member;                   // the address in use
    std::vector<Member> addresses;   // to try; empty: `member` alone
    std::size_t next_address = 0;
    bool up = false;
    std::shared_ptr<net::Socket> socket;  // to it
    std::deque<Chunk> queue;
    std::size_t queued = 0;
    bool writing = false;
    std::shared_ptr<Inbound> inbound;     // from it
    net::Event dialled;                   // by it: it is there, so dial it now
    MonotonicTime heard = MonotonicTime::min();
    std::string refused;
  };

  net::Task<void> accept_all();
  net::Task<void> serve(net::Socket socket);
  net::Task<void> read_frames(std::shared_ptr<Inbound> inbound, std::string buffer);
  net::Task<void> keep(std::size_t peer);
  net::Task<void> connect(std::size_t peer);
  void write(std::size_t peer);
  void note_refused(std::size_t peer, const std::string& why);

  net::Loop& loop_;
  const std::size_t self_;
  const Timings timings_;
  const std::size_t queue_bytes_;
  const Callbacks callbacks_;
  std::vector<std::unique_ptr<Peer>> peers_;
  net::Acceptor acceptor_;
  bool started_ = false;
  bool stopping_ = false;
  net::Scope scope_;
};

/// One frame within the time: for handshakes. `buffer` keeps what was read beyond it.
struct OwnedFrame {
  FrameKind kind{};
  std::string payload;
};
net::Task<OwnedFrame> read_frame(net::Socket& socket, std::string& buffer, Duration timeout);

}  // namespace kraken::group
