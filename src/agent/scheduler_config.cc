#include "src/agent/scheduler_config.h"

#include <algorithm>
#include <concepts>

#include <nlohmann/json.hpp>

#include "http/headers.h"

namespace kraken::agent {

p2p::SchedulerOptions scheduler_options(const config::Scheduler& config) {
  p2p::SchedulerOptions options;
  options.seeder_tti = config.seeder_tti;
  options.leecher_tti = config.leecher_tti;
  options.handshake_timeout = config.conn.handshake_timeout;
  options.swarm.connections_max = std::max(config.connstate.max_open_conn, 1U);
  options.swarm.dial_until = std::max(options.swarm.connections_max / 2, 1U);
  options.swarm.pauses = !config.connstate.disable_blacklist;
  options.swarm.failed_pause = config.connstate.blacklist_duration;
  if (config.conn.bandwidth.enable) {
    options.egress_bytes_per_second = config.conn.bandwidth.egress_bits_per_sec / 8;
    options.ingress_bytes_per_second = config.conn.bandwidth.ingress_bits_per_sec / 8;
  }
  return options;
}

namespace {

class Fields {
 public:
  Fields(const nlohmann::json& object, std::string path, Result<>& outcome) : object_(object), path_(std::move(path)), outcome_(outcome) {}

  void read(std::string_view name, Duration& out) {
    if (const auto* value = find(name)) number(*value, name, [&](std::int64_t ns) { out = Duration(ns); });
  }
  template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>)
  void read(std::string_view name, T& out) {
    if (const auto* value = find(name)) number(*value, name, [&](std::int64_t amount) { out = static_cast<T>(amount); });
  }
  void read(std::string_view name, bool& out) {
    const auto* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return wrong(name, "true or false");
    out = value->get<bool>();
  }
  template <class Take>
  void section(std::string_view name, Take take) {
    const auto* value = find(name);
    if (value == nullptr || value->is_null()) return;
    if (!value->is_object()) return wrong(name, "an object");
    Fields fields(*value, path_ + std::string(name) + ".", outcome_);
    take(fields);
  }

 private:
  const nlohmann::json* find(std::string_view name) const {
    for (const auto& [key, value] : object_.items())
      if (http::equal_ignoring_case(key, name)) return &value;
    return nullptr;
  }
  template <class Take>
  void number(const nlohmann::json& value, std::string_view name, Take take) {
    if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<std::int64_t>() < 0)) return wrong(name, "a whole number, 0 or more");
    take(value.get<std::int64_t>());
  }
  void wrong(std::string_view name, std::string_view what) {
    if (outcome_) outcome_ = fail(Code::kInvalidArgument, "decode body: {}{} must be {}", path_, name, what);
  }
  const nlohmann::json& object_;
  std::string path_;
  Result<>& outcome_;
};

}  // namespace

Result<config::Scheduler> parse_scheduler_config(std::string_view json) {
  const nlohmann::json document = nlohmann::json::parse(json, nullptr, false);
  if (!document.is_object()) return fail(Code::kInvalidArgument, "decode body: no JSON object");
  config::Scheduler made;
  Result<> outcome;
  Fields top(document, "", outcome);
  // Zero means the default in stock's configuration.
  const config::Scheduler defaults;
  const auto or_default = [](auto& value, const auto& fallback) {
    if (value == std::remove_cvref_t<decltype(value)>{}) value = fallback;
  };
  top.read("SeederTTI", made.seeder_tti);
  top.read("LeecherTTI", made.leecher_tti);
  top.read("ConnTTI", made.conn_tti);
  top.read("ConnTTL", made.conn_ttl);
  top.read("ProbeTimeout", made.probe_timeout);
  top.section("ConnState", [&](Fields& fields) {
    fields.read("MaxOpenConnectionsPerTorrent", made.connstate.max_open_conn);
    fields.read("DisableBlacklist", made.connstate.disable_blacklist);
    fields.read("BlacklistDuration", made.connstate.blacklist_duration);
  });
  top.section("Conn", [&](Fields& fields) {
    fields.read("HandshakeTimeout", made.conn.handshake_timeout);
    fields.section("Bandwidth", [&](Fields& bandwidth) {
      bandwidth.read("Enable", made.conn.bandwidth.enable);
      bandwidth.read("EgressBitsPerSec", made.conn.bandwidth.egress_bits_per_sec);
      bandwidth.read("IngressBitsPerSec", made.conn.bandwidth.ingress_bits_per_sec);
    });
  });
  top.section("Dispatch", [&](Fields& fields) {
    fields.read("PieceRequestMinTimeout", made.dispatch.piece_request_min_timeout);
    fields.read("PieceRequestTimeoutPerMb", made.dispatch.piece_request_timeout_per_mb);
    fields.read("AgentPipelineLimit", made.dispatch.pipeline_limit);
    fields.read("OriginPipelineLimit", made.dispatch.origin_pipeline_limit);
  });
  if (!outcome) return std::unexpected(outcome.error());
  or_default(made.seeder_tti, defaults.seeder_tti);
  or_default(made.leecher_tti, defaults.leecher_tti);
  or_default(made.conn_tti, defaults.conn_tti);
  or_default(made.conn_ttl, defaults.conn_ttl);
  or_default(made.probe_timeout, defaults.probe_timeout);
  or_default(made.connstate.max_open_conn, defaults.connstate.max_open_conn);
  or_default(made.connstate.blacklist_duration, defaults.connstate.blacklist_duration);
  or_default(made.conn.handshake_timeout, defaults.conn.handshake_timeout);
  return made;
}

}  // namespace kraken::agent
