#include "src/net/deadline.h"

namespace kraken::net::detail {

namespace asio = boost::asio;

namespace {
constexpr Duration kCancelAgain = std::chrono::milliseconds(50);
}

void Alarm::arm(Duration after) {
  timer.expires_after(after);
  timer.async_wait([self = shared_from_this()](const boost::system::error_code& ec) {
    if (ec || self->disarmed) return;
    self->fired = true;
    self->arm(kCancelAgain);
    self->signal.emit(asio::cancellation_type::all);
  });
}

void Alarm::disarm() {
  disarmed = true;
  timer.cancel();
}

}  // namespace kraken::net::detail
