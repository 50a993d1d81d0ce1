#include "src/admin/status.h"

namespace kraken::admin {
namespace {

// One file, nothing fetched but /status, so that it works on a cluster without any other network.
constexpr std::string_view kPage = R"page(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kraken</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --bad: #c33; --good: #2a7; }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.4rem; margin: 0; } p { margin: .3rem 0 1.2rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
  th { font-weight: 600; opacity: .7; }
  .good { color: var(--good); } .bad { color: var(--bad); }
  .bar { display: inline-block; width: 6rem; height: .6rem; border: 1px solid var(--line); vertical-align: middle; margin-right: .5rem; }
  .bar i { display: block; height: 100%; background: currentColor; opacity: .5; }
</style>
<h1>Kraken</h1>
<p id="words">Asking the cluster ...</p>
<table>
  <thead><tr><th>node</th><th>address</th><th>state</th><th>shards led</th><th>lag</th><th>blob disk</th><th>memory</th><th>agents seen</th><th>up for</th></tr></thead>
  <tbody id="nodes"></tbody>
</table>
<p id="shards"></p>
<script>
const text = (tag, value, cls) => { const e = document.createElement(tag); e.textContent = value; if (cls) e.className = cls; return e; };
const bytes = n => { const u = ["B", "KB", "MB", "GB", "TB", "PB"]; let i = 0; while (n >= 1024 && i < 5) { n /= 1024; i++; } return (i ? n.toFixed(1) : n) + " " + u[i]; };
const span = s => s < 90 ? Math.round(s) + " s" : s < 5400 ? Math.round(s / 60) + " min" : s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " d";
function disk(d) {
  const cell = document.createElement("td");
  if (!d || d.error) { cell.textContent = d ? d.error : ""; return cell; }
  const used = d.total_bytes - d.free_bytes, bar = text("span", "", "bar"), fill = document.createElement("i");
  fill.style.width = (100 * used / d.total_bytes).toFixed(0) + "%";
  bar.append(fill); cell.append(bar, bytes(d.free_bytes) + " free");
  return cell;
}
function row(n) {
  const tr = document.createElement("tr");
  tr.append(text("td", n.label), text("td", n.host));
  if (!n.up) { const td = text("td", "down: " + n.error, "bad"); td.colSpan = 7; tr.append(td); return tr; }
  tr.append(text("td", n.ready ? "ready" : n.not_ready, n.ready ? "good" : "bad"), text("td", n.groups.led + " of " + n.groups.total),
    text("td", n.groups.lag_entries), disk(n.disk && n.disk.blobs), text("td", bytes(n.resident_bytes)),
    text("td", n.agents_seen ?? ""), text("td", span(n.uptime_s)));
  return tr;
}
async function look() {
  try {
    const s = await (await fetch("/status")).json();
    document.getElementById("words").textContent = s.words;
    document.getElementById("nodes").replaceChildren(...s.nodes.map(row));
    const lost = s.summary.without_leader.length;
    const p = document.getElementById("shards");
    p.textContent = lost ? lost + " of " + s.summary.total + " shards have no leader: their tags and blobs cannot be written now" : "All " + s.summary.total + " shards have a leader.";
    const fenced = s.nodes.flatMap(n => (n.fenced ?? []).map(f => n.label + ": shard " + f.shard + " is fenced: " + f.why));
    if (fenced.length) p.textContent += " " + fenced.join(" ");
    p.className = lost || fenced.length ? "bad" : "";
  } catch (e) { document.getElementById("words").textContent = "This node does not answer: " + e; }
}
look(); setInterval(look, 3000);
</script>
</html>
)page";

}  // namespace

std::string_view status_page() { return kPage; }

}  // namespace kraken::admin
