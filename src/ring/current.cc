#include "src/ring/current.h"

#include <utility>

namespace kraken::ring {

Addresses fixed_addresses(std::map<std::string, Address> addresses) {
  return [addresses = std::move(addresses)](const std::string& label) -> std::optional<Address> {
    const auto found = addresses.find(label);
    if (found == addresses.end()) return std::nullopt;
    return found->second;
  };
}

CurrentRing::CurrentRing(Ring ring) : ring_(std::make_shared<const Ring>(std::move(ring))) {
  for (const Member& member : ring_->members()) hosts_[member.label] = member.host;
}

std::shared_ptr<const Ring> CurrentRing::get() const {
  const std::scoped_lock lock(mutex_);
  return ring_;
}

bool CurrentRing::set(Ring ring, const std::vector<Member>& leaving) {
  auto next = std::make_shared<const Ring>(std::move(ring));
  const std::scoped_lock lock(mutex_);
  if (next->epoch() < ring_->epoch()) return false;
  for (const Member& member : leaving) hosts_[member.label] = member.host;
  for (const Member& member : next->members()) hosts_[member.label] = member.host;  // whoever took a label over
  ring_ = std::move(next);
  return true;
}

std::optional<std::string> CurrentRing::host_of(const std::string& label) const {
  const std::scoped_lock lock(mutex_);
  const auto found = hosts_.find(label);
  if (found == hosts_.end()) return std::nullopt;
  return found->second;
}

Addresses CurrentRing::addresses(std::uint16_t port) const {
  return [this, port](const std::string& label) -> std::optional<Address> {
    auto host = host_of(label);
    if (!host) return std::nullopt;
    return Address{.host = *std::move(host), .port = port};
  };
}

}  // namespace kraken::ring
