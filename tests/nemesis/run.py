#!/usr/bin/env python3
"""Real nodes under recorded load while a nemesis breaks things; every history is checked for linearizability.

  run.py --binary build/release/tools/kraken --faults kill,pause,partition --seconds 20 --seed 7
  run.py --binary .. --faults kill_leader+slow_links          two at a time
  run.py --binary .. --matrix --hours 2                       every fault and many pairs, until the time is over

A seed decides the schedule: which faults, where, when, for how long. (The clients' threads and the nodes are not under its control.)
Exit code 0: every verdict is ok. Histories of failed scenarios are kept, with data and logs, and the last lines name them.
Helpers (chaos_proxy, the shims, history_check) are looked for in the build folder of the binary. docs/testing.md, "Real processes".
"""
import argparse
import itertools
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))

import history as histories  # noqa: E402
from clients import BlobClients, TagClients  # noqa: E402
from faults import KINDS  # noqa: E402
from kraken_cluster import SLACK, UNREACHABLE, Cluster, request, wait_for  # noqa: E402
from network import Network  # noqa: E402

# What each scenario lasts, beside the faults: warming up, and after the last fault is healed.
WARM_SECONDS, CALM_SECONDS = 1.5, 3.0
# Successful operations a second, over a whole scenario: far below what is usual (hundreds), far above a dead cluster.
RATE_MIN = 2.0
RATE_MIN_NO_QUORUM = 0.5  # where the fault takes the quorum away for most of the time


class Failure(Exception):
    pass


class World:
    """One cluster with everything that a fault needs."""

    def __init__(self, tools, nodes, power, pause_max, output):
        self.tools, self.rng, self.pause_max, self.output = tools, random.Random(0), pause_max, output  # each scenario seeds it
        self.began = time.monotonic()
        self.failures, self.may_end, self.forgotten = [], set(), 0
        self.cluster = Cluster(tools.kraken, nodes=nodes, max_replica=2)
        self.network = None
        self.controls = []
        shims = [tools.shim, tools.forget if power else tools.disk_faults]
        for node in self.cluster.nodes:
            os.makedirs(node.folder, exist_ok=True)
            control = node.folder + ".control"
            with open(control, "wb") as file:
                file.write(bytes(16))
            with open(control, "r+b") as file:
                self.controls.append(mmap.mmap(file.fileno(), 16))
            node.environment = {"LD_PRELOAD": ":".join(shims), "NEMESIS_CONTROL": control, "NEMESIS_PREFIX": self.cluster.subnet.prefix,
                                "NEMESIS_SELF": str(node.index), "NEMESIS_NODES": str(nodes)}
            if power:
                node.environment.update({"FORGET_ROOT": node.folder, "FORGET_LOG": node.folder + ".undo"})
            else:
                node.environment.update({"FAULT_CONTROL": node.folder + ".faults", "FAULT_LOG": node.folder + ".fired"})

    def start_all(self):
        self.network = Network(self.tools.proxy, self.cluster.subnet.prefix, len(self.cluster.nodes))
        self.cluster.start()

    def say(self, text):
        print(f"  {time.monotonic() - self.began:6.1f} s  {text}", file=self.output, flush=True)

    def fail(self, text):
        self.say("FAILED: " + text)
        self.failures.append(text)

    # For the faults.
    def leader(self):
        """The node that leads most shards; any, if nobody says."""
        counts = {}
        for node in self.cluster.nodes:
            try:
                answer = request("GET", node.host, 14002, "/status", timeout=1)
                led = [shard["leader"] for shard in answer.json()["shards"]]
            except (*UNREACHABLE, ValueError, KeyError):
                continue
            counts = {label: led.count(label) for label in led}
            break
        nodes = {f"origin{node.index}": node for node in self.cluster.nodes}
        known = {label: count for label, count in counts.items() if label in nodes}
        return nodes[max(known, key=lambda label: (known[label], label))] if known else self.rng.choice(self.cluster.nodes)

    def kill(self, nodes):
        for node in nodes:
            if node.process is not None:
                node.process.send_signal(9)
        for node in nodes:
            node.kill()

    def stop(self, node):
        if not node.alive():
            return "nothing, it was down"
        code = node.stop()
        if code not in (0, -15):
            self.fail(f"{node.name} ended with {code} when it was told to stop")
        return code

    def start(self, node):
        """Unless it runs. It is not expected to end any more."""
        if node.process is not None and not node.alive():
            node.kill()  # collects it
        self.may_end.discard(node.name)
        if node.process is None:
            # As the operator does who sees that a node stays down after the third failed sync in a row.
            if os.path.exists(node.folder + "/metadata/FAILED_EXITS"):
                subprocess.run([self.tools.kraken, "repair", "--start-again", "--data", node.folder + "/metadata"], stdout=subprocess.DEVNULL, check=False)
            node.start()

    def start_again(self, node):
        """After its disk failed: the third time in ten minutes a node stays down until somebody has looked at the disk."""
        self.kill([node])
        subprocess.run([self.tools.kraken, "repair", "--start-again", "--data", os.path.join(node.folder, "metadata")],
                       check=True, stdout=subprocess.DEVNULL)
        self.start(node)

    def expect_end(self, node):
        self.may_end.add(node.name)

    def disk_fault(self, node, lines):
        path = node.folder + ".faults"
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(lines + "\n" if lines else "")
        if lines and os.path.exists(node.folder + ".fired"):
            os.unlink(node.folder + ".fired")
        os.rename(path + ".new", path)

    def fault_fired(self, node):
        return os.path.exists(node.folder + ".fired")

    def control(self, node, clock=None, full=None):
        memory = self.controls[node.index]
        if clock is not None:
            memory[0:8] = struct.pack("<q", clock)
        if full is not None:
            memory[8:16] = struct.pack("<q", full)

    def check_processes(self):
        for node in self.cluster.nodes:
            if node.process is not None and node.process.poll() is not None and node.name not in self.may_end:
                code = node.process.returncode
                self.fail(f"{node.name} ended by itself with {code}: {node.log_text()[-1500:]}")
                self.start(node)

    def close(self, failed):
        self.cluster.close(failed=failed)
        if self.network is not None:
            self.network.close()


class Tools:
    def __init__(self, kraken):
        self.kraken = os.path.abspath(kraken)
        build = os.path.dirname(os.path.dirname(self.kraken))
        self.proxy = os.path.join(build, "tests/nemesis/chaos_proxy")
        self.shim = os.path.join(build, "tests/nemesis/libnemesis_shim.so")
        self.disk_faults = os.path.join(build, "tests/fault/libdisk_faults.so")
        self.forget = os.path.join(build, "tests/fault/libforget_unsynced.so")
        self.history_check = os.path.join(build, "tests/history/history_check")
        for path in (self.kraken, self.proxy, self.shim, self.disk_faults, self.forget, self.history_check):
            if not os.path.exists(path):
                sys.exit(f"{path} is missing: build chaos_proxy nemesis_shim disk_faults forget_unsynced history_check")


def settle(world):
    """Every node is ready. What ended by itself, though it should not, is a failure and is started again."""
    until = time.monotonic() + 60 * SLACK
    for node in world.cluster.nodes:
        while True:
            try:
                if node.is_ready():
                    break
            except AssertionError:
                world.check_processes()
            if time.monotonic() > until:
                raise Failure(f"{node.name} is not ready {60 * SLACK:.0f} s after the last fault was healed: {node.log_text()[-1500:]}")
            time.sleep(0.05)


def torment(world, names, seconds, minimum=1):
    """Injects and heals the faults `names` together, again and again."""
    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until or count < minimum:
        time.sleep(world.rng.uniform(0.3, 1.5))
        chosen = [KINDS[name](world) for name in names]
        hold = max(fault.duration() for fault in chosen)
        begun = []
        try:
            for fault in chosen:
                begun.append(fault)
                world.say(fault.inject())
            ends = time.monotonic() + hold
            while time.monotonic() < min(ends, max(until, time.monotonic() + 0.01)) and time.monotonic() < ends:
                world.check_processes()
                time.sleep(min(0.1, max(0.0, ends - time.monotonic())))
        finally:
            for fault in reversed(begun):
                fault.heal()
        world.say("healed")
        world.check_processes()
        count += 1
    return count


def scenario(world, names, workload, seconds, label, seed):
    """One row of the table."""
    world.rng.seed(f"{seed} {names}")
    history = histories.History()
    clients = []
    if "tags" in workload:
        clients.append(TagClients(world.cluster.nodes, history, label, seed))
        clients[0].prepare()
    if "blobs" in workload:
        clients.append(BlobClients(world.cluster.nodes, history, label, seed))
    before, forgotten = len(world.failures), world.forgotten
    began = time.monotonic()
    silent, injected, stuck = [], 0, None
    for client in clients:
        client.start()
    try:
        time.sleep(WARM_SECONDS)
        injected = torment(world, names, seconds - WARM_SECONDS - CALM_SECONDS)
        settle(world)
        written = history.writes_ok
        wait_for(lambda: history.writes_ok >= written + 20, 60, "20 writes after everything is healed")
        time.sleep(CALM_SECONDS)
    except (Failure, AssertionError) as error:
        stuck = str(error)
    finally:
        for client in clients:
            client.stop()
    elapsed = time.monotonic() - began
    history.frozen = True
    pause = history.longest_pause()
    if stuck is None:
        for client in clients:
            silent += client.read_everything(60)
    path = os.path.join(world.cluster.folder, f"history-{label}.jsonl")
    history.write(path)
    verdict, text = histories.check(world.tools.history_check, path)

    problems = list(world.failures[before:])
    if stuck is not None:
        problems.append(stuck)
    if verdict != "ok":
        problems.append(f"history {path}:\n{text}")
    problems += history.check_lists() + history.anomalies + [f"never answered: {what}" for what in silent[:5]]
    if any(KINDS[name].group == "power" for name in names) and world.forgotten == forgotten:
        problems.append("nothing was ever forgotten: the shim does not work")
    rate = history.counts["ok"] / elapsed
    least = (RATE_MIN_NO_QUORUM if any(KINDS[name].no_quorum or name in ("pause_all", "power") for name in names) else RATE_MIN) / SLACK
    if rate < least:
        problems.append(f"only {rate:.1f} operations a second succeeded, wanted {least:.1f}")
    for problem in problems:
        print(f"  PROBLEM {problem}", file=world.output, flush=True)
    counts = history.counts
    if verdict == "ok" and problems:
        verdict = "FAILED"
    row = {"faults": "+".join(names), "injected": injected, "operations": sum(counts.values()), **counts, "pause": pause, "rate": rate,
           "verdict": verdict, "seed": seed}
    print(f"  {label} {row['faults']}: {injected} faults, {row['operations']} operations, {rate:.0f} succeeded a second, longest pause of a key "
          f"{pause:.2f} s, not answered well: {dict(sorted(history.rejected.items(), key=lambda item: -item[1])[:6])}: {verdict}",
          file=world.output, flush=True)
    return row


def table(rows):
    """By fault, over all scenarios."""
    print(f"{'fault':<28} {'runs':>4} {'faults':>6} {'operations':>10} {'ok':>9} {'failed':>8} {'unknown':>7} {'pause s':>8}  verdict")
    for name in dict.fromkeys(row["faults"] for row in rows):
        of = [row for row in rows if row["faults"] == name]

        def total(what, chosen=of):
            return sum(row[what] for row in chosen)
        bad = [row for row in of if row["verdict"] != "ok"]
        verdict = "ok" if not bad else f"{len(bad)} FAILED: " + ", ".join(f"{row['verdict']} (seed {row['seed']})" for row in bad[:3])
        print(f"{name:<28} {len(of):>4} {total('injected'):>6} {total('operations'):>10} {total('ok'):>9} {total('failed'):>8} {total('unknown'):>7} "
              f"{max(row['pause'] for row in of):>8.2f}  {verdict}")
    print(f"{len(rows)} scenarios, {sum(row['operations'] for row in rows)} operations, {sum(row['verdict'] != 'ok' for row in rows)} failed", flush=True)


def needs_power(names):
    return any(KINDS[name].group == "power" for name in names)


def run_group(tools, options, scenarios, seed, output=sys.stdout):
    """Scenarios one after the other, in the same cluster as long as it does for them. One that failed is not used again."""
    rows = []
    waiting = list(scenarios)
    while waiting:
        power = needs_power(waiting[0])
        world = World(tools, options.nodes, power, min(options.pause_max, options.seconds / 2 + 1), output)
        failed, started = False, False
        try:
            while waiting and not failed and power == needs_power(waiting[0]):
                names = waiting.pop(0)
                label = f"s{seed}-{len(rows)}"
                print(f"{label}: {'+'.join(names)}, {options.seconds:.0f} s", file=output, flush=True)
                failed = True
                try:
                    if not started:
                        world.start_all()
                        started = True
                    rows.append(scenario(world, names, options.workload.split(","), options.seconds, label, seed))
                except (AssertionError, OSError) as error:
                    print(f"  PROBLEM {error}", file=output, flush=True)
                    rows.append({"faults": "+".join(names), "injected": 0, "operations": 0, "ok": 0, "failed": 0, "unknown": 0, "pause": 0, "rate": 0,
                                 "verdict": "BROKE OFF", "seed": seed})
                failed = rows[-1]["verdict"] != "ok"
        finally:
            world.close(failed)
        if failed:
            print(f"  run again: {sys.argv[0]} --binary {tools.kraken} --nodes {options.nodes} --workload {options.workload} --seconds {options.seconds:.0f} "
                  f"--seed {seed} --faults {rows[-1]['faults']}", file=output, flush=True)
    return rows


def matrix(tools, options):
    """Each fault alone, then pairs in an order that the seed decides; new clusters now and then; until the time is over."""
    until = time.monotonic() + options.hours * 3600
    rng = random.Random(f"matrix {options.seed}")
    rows, seed = [], options.seed
    singles = [(name,) for name in KINDS]
    apart = {"flip", "power", "fail_sync", "no_space"}  # two of these could damage two disks at once, which promises nothing
    pairs = [pair for pair in itertools.combinations(KINDS, 2) if "none" not in pair and not set(pair) & {"power"} and len(set(pair) & apart) < 2
             and not all(issubclass(KINDS[name], KINDS["partition"]) or name.endswith("_links") for name in pair)]
    pending = []
    while time.monotonic() < until:
        if not pending:
            pending = rng.sample(singles, len(singles)) + rng.sample(pairs, min(len(pairs), len(singles)))
        batch, pending = pending[:4], pending[4:]
        rows += run_group(tools, options, sorted(batch, key=lambda names: "power" in names), seed)
        seed += 1
        table(rows)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the kraken program, in its build folder")
    parser.add_argument("--workload", default="tags,blobs", help="tags, blobs or both (default)")
    parser.add_argument("--faults", default="kill,pause,partition", help=f"comma: one after the other; plus: at the same time. {', '.join(KINDS)}")
    parser.add_argument("--seconds", type=float, default=20, help="of each scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--pause-max", type=float, default=30, help="seconds; no longer than half a scenario")
    parser.add_argument("--matrix", action="store_true")
    parser.add_argument("--hours", type=float, default=2)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the clusters are taken down on the way out
    scenarios = [tuple(words.split("+")) for words in options.faults.split(",")]
    for name in itertools.chain.from_iterable(scenarios):
        if name not in KINDS:
            sys.exit(f"no fault {name}; there are: {', '.join(KINDS)}")
    tools = Tools(options.binary)
    rows = matrix(tools, options) if options.matrix else run_group(tools, options, scenarios, options.seed)
    if not options.matrix:
        table(rows)
    sys.exit(0 if rows and all(row["verdict"] == "ok" for row in rows) else 1)


if __name__ == "__main__":
    main()
