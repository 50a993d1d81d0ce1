// What comes from another node's connection, as bytes: frames, Raft messages, beats, requests, handshakes, the
// state of the system group. Any bytes give values or an
// error; what was decoded is encoded and decoded to the same.

#include "consensus/group/frame.h"

#include "consensus/group/handshake.h"
#include "consensus/group/requests.h"
#include "consensus/group/system_state.h"
#include "tests/fuzz/input.h"

using namespace kraken;
using namespace kraken::group;

namespace {

std::string encode_all(const std::vector<raft::Message>& messages) {
  std::string out;
  for (const raft::Message& m : messages) encode_message(m, out);
  return out;
}

void stream(std::string_view in) {
  for (;;) {
    const auto frame = next_frame(in);
    if (!frame || !*frame) return;
    fuzz::require((*frame)->used >= kFrameHeaderBytes && (*frame)->used <= in.size());
    in.remove_prefix((*frame)->used);
  }
}

void messages(std::string_view in) {
  const auto first = decode_messages(in);
  if (!first) return;
  const std::string bytes = encode_all(*first);
  const auto second = decode_messages(bytes);
  fuzz::require(second && encode_all(*second) == bytes);
  std::string framed;
  append_frame(FrameKind::kMessages, bytes, framed);
  const auto frame = next_frame(framed);
  fuzz::require(frame && *frame && (*frame)->payload == bytes && (*frame)->used == framed.size());
}

/// The coder has a memory: several payloads on one connection.
void beats(fuzz::Input& in) {
  BeatCoder receiver, sender, check;
  while (!in.empty()) {
    const std::string payload = in.text();
    const auto decoded = receiver.decode(payload);
    if (!decoded) return;  // the connection would be closed
    const std::string bytes = sender.encode(*decoded);
    const auto again = check.decode(bytes);
    fuzz::require(again && encode_all(*again) == encode_all(*decoded));
  }
}

template <class Decode, class Encode>
void same(std::string_view in, Decode decode, Encode encode) {
  const auto first = decode(in);
  if (!first) return;
  const std::string bytes = encode(*first);
  const auto second = decode(bytes);
  fuzz::require(second && encode(*second) == bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  switch (in.below(8)) {
    case 0: stream(in.rest()); break;
    case 1:
    case 2: messages(in.rest()); break;
    case 3: beats(in); break;
    case 4: {
      std::string out;
      same(in.rest(), decode_requests, [&](const auto& list) {
        out.clear();
        for (const Request& r : list) encode_request(r, out);
        return out;
      });
      break;
    }
    case 5: {
      std::string out;
      same(in.rest(), decode_replies, [&](const auto& list) {
        out.clear();
        for (const Reply& r : list) encode_reply(r, out);
        return out;
      });
      break;
    }
    case 6: {
      const std::string_view bytes = in.rest();
      same(bytes, decode_hello, [](const Hello& h) { return encode(h); });
      same(bytes, decode_welcome, [](const Welcome& w) { return encode(w); });
      break;
    }
    default: {
      const std::string_view bytes = in.rest();
      same(bytes, decode_system_state, [](const SystemState& s) { return encode(s); });
      same(bytes, decode_system_command, [](const SystemCommand& c) { return encode(c); });
    }
  }
  return 0;
}
