#include "consensus/group/report.h"

#include <bit>

#include "src/base/codec.h"

namespace kraken::group {

std::string encode(const Report& report) {
  Writer out;
  out.u32(static_cast<std::uint32_t>(report.wish.size()));
  for (const WishNode& node : report.wish)
    out.bytes(node.label).bytes(node.host).u16(node.port).u64(std::bit_cast<std::uint64_t>(node.weight));
  out.u32(static_cast<std::uint32_t>(report.hears.size()));
  for (const std::string& label : report.hears) out.bytes(label);
  out.u32(report.replicas).u32(report.snapshots);
  return std::move(out).take();
}

Result<Report> decode_report(std::string_view payload) {
  Reader in(payload);
  Report report;
  const std::uint32_t wished = in.count(4 + 4 + 2 + 8);
  for (std::uint32_t i = 0; i < wished && in.ok(); ++i) {
    WishNode node;
    node.label = in.bytes();
    node.host = in.bytes();
    node.port = in.u16();
    node.weight = std::bit_cast<double>(in.u64());
    report.wish.push_back(std::move(node));
  }
  const std::uint32_t heard = in.count(4);
  for (std::uint32_t i = 0; i < heard && in.ok(); ++i) report.hears.emplace_back(in.bytes());
  report.replicas = in.u32();
  report.snapshots = in.u32();
  if (!in.ok() || !in.empty() || report.wish.size() > kNodesMax || report.hears.size() > kNodesMax) return fail(Code::kProtocol, "report: malformed");
  return report;
}

}  // namespace kraken::group
