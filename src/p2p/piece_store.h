#pragma once
// PieceStore: where a host keeps the pieces of torrents. An agent has its own files (src/agent/storage.h); a node shows
// its blob store, read-only and always complete.

#include <cstdint>
#include <memory>
#include <string>

#include "src/core/bitfield.h"
#include "src/core/digest.h"
#include "src/core/metainfo.h"
#include "src/net/task.h"

namespace kraken::p2p {

/// One blob on this host's disk, whole or in part. The descriptor stays open while the object lives.
/// Threads: metainfo, infohash, fd and have from any; the rest on a thread that may block.
class Torrent {
 public:
  virtual ~Torrent() = default;
  virtual const MetaInfo& metainfo() const = 0;
  virtual const InfoHash& infohash() const = 0;
  /// The blob's file: piece i lies at metainfo().piece_offset(i). Writable while it is not complete.
  virtual int fd() const = 0;
  /// The pieces that may be used, as they were when the torrent was opened.
  virtual Bitfield have() const = 0;
  /// Whether the scheduler checks a piece's sum before it first gives the piece (once per opened torrent): for stores
  /// whose disk may have decayed since. A mismatch calls `damaged`, and the peer gets an ERROR.
  virtual bool check_before_giving() const { return false; }
  virtual void damaged(std::uint32_t) {}
  /// The whole is this host's, its SHA-256 was checked: have() is all, and nothing below is called.
  virtual bool finished() const = 0;

  // Only where it was not finished:
  /// The piece has been written to fd and its sum matched; remembered across restarts.
  virtual Result<> mark(std::uint32_t piece) = 0;
  /// All pieces are marked and the SHA-256 matched: the blob becomes this host's.
  virtual Result<> finish() = 0;
  /// Forgets it, file and metainfo.
  virtual void discard() = 0;
};

class PieceStore {
 public:
  virtual ~PieceStore() = default;
  /// For a peer's handshake: kNotFound where this host has nothing of it, or the whole of a blob without metainfo.
  virtual net::Task<std::shared_ptr<Torrent>> find(Digest digest, std::string ns) = 0;
  /// For a download: the torrent with the pieces that are here already. kUnsupported where the store is read-only.
  /// Never called twice for a digest while a torrent of it is alive.
  virtual net::Task<std::shared_ptr<Torrent>> create(MetaInfo metainfo) = 0;
};

}  // namespace kraken::p2p
