"""The figures of scripts/bench consensus: the replicated log, beside Debian's etcd on the same machine in the same run.

Both sides: three servers, data in one temporary folder, no TLS, the same keys and 71-byte values (a digest), the same number of
clients, each with a connection of its own and one request at a time, dealt to the three servers in turn; a warm-up that does not
count; runs of one and the other in turn. Our put is a re-tag, one entry of the log. etcd runs with its defaults.
"""
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time

from bench_figure import Figure
from etcd_cluster import Etcd
from kraken_cluster import UNREACHABLE, Cluster, infohash_of, random_bytes, request, wait_for
from netns import Network

SHARDS = 128
REPOSITORIES = [f"bench/r{i}" for i in range(SHARDS)]
KEYS = 1024  # a multiple of the repositories
WARM_UP = 2  # seconds
IDLE_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")


def shard_of(repository):
    """As src/metadata/state/shards.h: the upper bits of the name's sum; shard 0 is the system group's."""
    return int.from_bytes(hashlib.sha256(repository.encode()).digest()[:2], "big") * SHARDS // 65536 + 1


def one_repository_a_shard():
    found, number = {}, 0
    while len(found) < SHARDS:
        found.setdefault(shard_of(f"bench/s{number}"), f"bench/s{number}")
        number += 1
    return [found[shard] for shard in sorted(found)]


def cpu_seconds(processes):
    """User and system time so far."""
    total = 0
    for process in processes:
        with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def escaped(tag):
    return tag.replace("/", "%2F").replace(":", "%3A")


class Consensus:
    """What the figures share: our cluster and etcd's, started at the first need."""

    def __init__(self, words):
        self.words, self.runs, self.seconds = words, words.runs, words.seconds
        self.kraken = os.path.join(words.build, "tools", "kraken")
        self.programs = os.path.join(words.build, "bench")
        self._cluster = self._etcd = self.digest = self.other_digest = None
        self.tagged = set()

    def close(self, failed):
        if self._etcd:
            self._etcd.close()
        if self._cluster:
            self._cluster.close(failed=failed)

    def program(self, name, *words, timeout=1800, strict=True):
        """Its line of JSON. Not `strict`: also where some of its requests were refused."""
        done = subprocess.run([os.path.join(self.programs, name), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        if done.returncode != 0 and (strict or not done.stdout):
            raise RuntimeError(f"{name} {' '.join(map(str, words))}: {done.stderr.strip()} {done.stdout.strip()}")
        return json.loads(done.stdout)

    @property
    def cluster(self):
        if self._cluster is None:
            self._cluster = Cluster(self.kraken, nodes=3)
            self._cluster.start()
            self.digest = self._cluster.nodes[0].push_taggable("bench/r0", b"bench")
            self.other_digest = self._cluster.nodes[0].push_taggable("bench/r0", b"bench again")
            settled(self._cluster)
        return self._cluster

    @property
    def etcd(self):
        if self._etcd is None:
            self._etcd = Etcd(os.path.join(self.cluster.folder, "etcd")).start()
        return self._etcd

    def taggable(self, repositories, cluster=None, digests=None):
        """The first put of a manifest in a repository brings its row with it; every later one is one entry."""
        cluster = cluster or self.cluster
        for repository in repositories:
            if digests is None and repository in self.tagged:
                continue
            for digest in digests or [self.digest, self.other_digest]:
                answer = cluster.nodes[0].put_tag(f"{repository}:first", digest)
                assert answer.status == 200, answer
            if digests is None:
                self.tagged.add(repository)

    def put_target(self, tag, digest=None):
        return f"/tags/{escaped(tag)}/digest/{digest or self.digest}"

    def load(self, clients, limit):
        return ["--clients", clients, "--warm-up", WARM_UP, "--seconds", self.seconds] if limit is None else ["--clients", clients, "--requests", limit]

    def ours(self, method, target, hosts=None, clients=500, keys=KEYS, groups=SHARDS, limit=None):
        return self.program("http_rate", "--to", ",".join(f"{node.host}:15004" for node in hosts or self.cluster.nodes), "--method", method, "--target", target,
                            "--keys", keys, "--groups", groups, "--values", f"{self.digest},{self.other_digest}", *self.load(clients, limit))

    def theirs(self, what, key, hosts=None, clients=500, keys=KEYS, groups=SHARDS, limit=None, channels=0, value=None):
        return self.program("etcd_rate", "--to", ",".join(member.address for member in hosts or self.etcd.members), "--do", what, "--key", key,
                            "--value", value or self.digest, "--values", f"{self.digest},{self.other_digest}", "--keys", keys, "--groups", groups,
                            "--channels", channels, *self.load(clients, limit))

    def in_turn(self, ours, theirs):
        """Runs of both, one after the other, with the CPU time that the servers took for each request."""
        results = ([], [])
        for _ in range(self.runs):
            for result, run, processes in ((results[0], ours, lambda: [node.process for node in self.cluster.nodes]),
                                           (results[1], theirs, lambda: [member.process for member in self.etcd.members])):
                before = cpu_seconds(processes())
                answer = run()
                answer["server_us"] = (cpu_seconds(processes()) - before) * 1e6 / answer["answers"]
                result.append(answer)
        return results


def settled(cluster, seconds=120):
    """Every node is ready, every shard has a leader and nobody is behind; then a moment for leaders to return to where they belong."""
    cluster.wait_ready()

    def quiet():
        with contextlib.suppress(*UNREACHABLE, KeyError):
            status = cluster.nodes[0].status()
            return all(node.get("up", True) for node in status["nodes"]) and all(shard["leader"] and not shard.get("lag") for shard in status["shards"])
        return False
    wait_for(quiet, seconds, "the shards are quiet")
    leaders, since = None, time.monotonic()
    end = since + seconds
    while time.monotonic() < end:
        now = {shard["shard"]: shard["leader"] for shard in cluster.nodes[0].status()["shards"]}
        if now != leaders:
            leaders, since = now, time.monotonic()
        if time.monotonic() - since > 5:
            return
        time.sleep(0.2)
    raise AssertionError("leaders keep moving")


def values(results, key):
    return [result[key] for result in results]


def side_by_side(name, ours, theirs, key, unit, **more):
    return Figure(name, unit, values(ours, key), peer="etcd", peer_values=values(theirs, key), **more)


# Figures. Each gets the Consensus and yields Figure objects.

def puts(bench):
    """500 clients; keys over 128 repositories, which lie in as many of the shards as chance has it, and all in one; then of another
    value than before each time, which moves an index row here."""
    bench.taggable(REPOSITORIES)
    for name, groups, value in (("tag_puts_500_clients", SHARDS, bench.digest), ("tag_puts_500_one_repository", 1, bench.digest), ("tag_puts_500_moving", SHARDS, "{v}")):
        ours, theirs = bench.in_turn(lambda groups=groups, value=value: bench.ours("PUT", bench.put_target("bench/r{r}:t{i}", value), groups=groups),
                                     lambda groups=groups, value=value: bench.theirs("put", "bench/r{r}:t{i}", groups=groups, value=value))
        yield side_by_side(name, ours, theirs, "per_second", "1/s", bar=3)
        yield side_by_side(name + "_p99", ours, theirs, "p99_ms", "ms", at_most=True)
        yield side_by_side(name + "_servers_cpu", ours, theirs, "server_us", "us/put", at_most=True)
    # etcd's own clients share connections, which is cheaper for it; HTTP/1.1 cannot.
    ours, theirs = bench.in_turn(lambda: bench.ours("PUT", bench.put_target("bench/r{r}:t{i}")), lambda: bench.theirs("put", "bench/r{r}:t{i}", channels=6))
    yield side_by_side("tag_puts_500_etcd_on_6_connections", ours, theirs, "per_second", "1/s")


def one_client(bench):
    """One client: with the leader of its keys, and with a node that is not."""
    bench.taggable(REPOSITORIES[:1])
    for name, leads in (("", True), ("_by_follower", False)):
        label = bench.cluster.leaders()[shard_of(REPOSITORIES[0])]
        node = next(node for node in bench.cluster.nodes if (f"origin{node.index}" == label) == leads)
        member = next(member for member in bench.etcd.members if (member is bench.etcd.leader()) == leads)
        ours, theirs = bench.in_turn(lambda node=node: bench.ours("PUT", bench.put_target("bench/r0:t{i}"), [node], clients=1, groups=1),
                                     lambda member=member: bench.theirs("put", "bench/r0:t{i}", [member], clients=1, groups=1))
        yield side_by_side(f"tag_put_one_client{name}_p50", ours, theirs, "p50_ms", "ms", bar=0.8, at_most=True)
        yield side_by_side(f"tag_put_one_client{name}_p99", ours, theirs, "p99_ms", "ms", bar=0.8, at_most=True)


def gets(bench):
    """64 clients, linearizable on both sides, with whichever server."""
    bench.taggable(REPOSITORIES)
    bench.ours("PUT", bench.put_target("bench/r{r}:t{i}"), limit=KEYS, clients=64)
    bench.theirs("put", "bench/r{r}:t{i}", limit=KEYS, clients=64)
    ours, theirs = bench.in_turn(lambda: bench.ours("GET", f"/tags/{escaped('bench/r{r}:t{i}')}", clients=64), lambda: bench.theirs("get", "bench/r{r}:t{i}", clients=64))
    yield side_by_side("tag_gets_64_clients", ours, theirs, "per_second", "1/s", bar=2)
    yield side_by_side("tag_gets_64_clients_p99", ours, theirs, "p99_ms", "ms", at_most=True)
    yield side_by_side("tag_gets_64_clients_servers_cpu", ours, theirs, "server_us", "us/get", at_most=True)


class Faults:
    """The fault of a leader, again and again, on our cluster and on etcd's: `fault` is a shell command with {pid} and {link}."""

    def __init__(self, bench, cluster, etcd, digest, fault, recover):
        self.bench, self.cluster, self.etcd, self.digest, self.fault, self.recover = bench, cluster, etcd, digest, fault, recover

    def of(self, process):
        return self.fault.format(pid=process.process.pid, link=getattr(process, "link", ""))

    def ours(self, names, period_ms):
        settled(self.cluster)
        label = self.cluster.leaders()[shard_of(names[0])]
        victim = next(node for node in self.cluster.nodes if f"origin{node.index}" == label)
        others = ",".join(f"{node.host}:15004" for node in self.cluster.nodes if node is not victim)
        try:
            return self.bench.program("http_probe", "--to", others, "--fault", self.of(victim), "--target", self.bench.put_target("{n}:probe", self.digest),
                                      "--names", ",".join(escaped(name) for name in names), "--keys", len(names), "--period-ms", period_ms)
        finally:
            self.recover(victim)

    def theirs(self, names, period_ms):
        victim = self.etcd.settled()
        others = ",".join(member.address for member in self.etcd.members if member is not victim)
        try:
            return self.bench.program("etcd_probe", "--to", others, "--fault", self.of(victim), "--key", "{n}:probe", "--value", self.digest,
                                      "--names", ",".join(names), "--keys", len(names), "--period-ms", period_ms)
        finally:
            self.recover(victim)

    def figures(self, name, median, worst):
        one, every = ["bench/r0"], one_repository_a_shard()
        self.bench.taggable(one + every, self.cluster, [self.digest])
        ours, all_shards, theirs = [], [], []
        for _ in range(self.bench.words.faults):
            ours.append(self.ours(one, 5)["first_ms"] / 1e3)
            theirs.append(self.theirs(one, 5)["first_ms"] / 1e3)
            all_shards.append(self.ours(every, 40)["all_ms"] / 1e3)
        yield Figure(name, "s", ours, bar=median, at_most=True, absolute=True, peer="etcd", peer_values=theirs)
        yield Figure(name + "_worst", "s", ours, bar=worst, at_most=True, absolute=True, judge=max, peer="etcd", peer_values=theirs)
        yield Figure(name + "_every_shard", "s", all_shards, bar=median, at_most=True)
        yield Figure(name + "_every_shard_worst", "s", all_shards, bar=worst, at_most=True, judge=max)


def restart(process):
    process.kill()
    process.start()


def leader_killed(bench):
    """kill -9; writes go to the others."""
    bench.cluster.wait_ready()
    yield from Faults(bench, bench.cluster, bench.etcd, bench.digest, "kill -KILL {pid}", restart).figures("leader_killed", 0.4, 1.0)


def leader_paused(bench):
    """SIGSTOP: its connections stay, nothing comes."""
    bench.cluster.wait_ready()
    yield from Faults(bench, bench.cluster, bench.etcd, bench.digest, "kill -STOP {pid}", lambda process: process.resume()).figures("leader_paused", 1.0, None)


def leader_cut_off(bench):
    """The leader's link goes down: each server in a network namespace of its own, on one bridge. Needs root."""
    if Network.missing():
        yield Figure("leader_cut_off", "s", [], bar=1.0, note=Network.missing())
        return
    # Not loopback: a node wants to be told that nobody else is on this network.
    with Network(6) as network, Cluster(bench.kraken, nodes=3, node_yaml="tls:\n  server:\n    disabled: true\n") as cluster:
        for node, place in zip(cluster.nodes, network.places):
            node.host, node.link, node.prefix = place.address, place.link, place.prefix
        for node in cluster.nodes:
            cluster.write_config(node)
        cluster.start()
        digest = cluster.nodes[0].push_taggable("bench/r0", b"bench")
        etcd = Etcd(os.path.join(cluster.folder, "etcd"), network.places[3:]).start()
        try:
            recover = lambda process: subprocess.run(["ip", "link", "set", process.link, "up"], check=True)  # noqa: E731
            yield from Faults(bench, cluster, etcd, digest, "ip link set {link} down", recover).figures("leader_cut_off", 1.0, None)
        finally:
            etcd.close()


def announces(bench):
    """Agents that still fetch, so each is handed 50 peers; with all nodes, then with one left of three."""
    with Cluster(bench.kraken, nodes=3) as cluster:
        cluster.start()
        digest = cluster.nodes[0].push_blob("bench/swarm", random_bytes(1 << 20, 7))
        metainfo = request("GET", cluster.nodes[0].host, 15003, f"/namespace/bench%2Fswarm/blobs/{digest}/metainfo").json()
        infohash = infohash_of(metainfo)
        peer = '{"peer_id":[' + ",".join(["{i}"] * 20) + '],"ip":"127.0.0.99","port":1,"origin":false,"complete":false}'
        body = f'{{"name":"{digest.split(":")[1]}","digest":"{digest}","info_hash":[{",".join(str(byte) for byte in bytes.fromhex(infohash))}],"peer":{peer}}}'

        def rate(nodes):
            answer = request("POST", nodes[0].host, 15003, f"/announce/{infohash}", body=body.replace("{i}", "1"))
            handed = len([peer for peer in answer.json()["peers"] if not peer["origin"]])
            assert handed == 50, f"{handed} peers were handed out: {answer}"
            return bench.program("http_rate", "--to", ",".join(f"{node.host}:15003" for node in nodes), "--clients", 64, "--warm-up", WARM_UP, "--seconds", bench.seconds,
                                 "--method", "POST", "--target", f"/announce/{infohash}", "--body", body, "--keys", 200)
        for node in cluster.nodes:
            bench.program("http_rate", "--to", f"{node.host}:15003", "--requests", 200, "--clients", 8, "--method", "POST", "--target", f"/announce/{infohash}",
                          "--body", body, "--keys", 200)
        for name, nodes in (("announces_with_quorum", cluster.nodes), ("announces_without_quorum", cluster.nodes[:1])):
            for node in cluster.nodes:
                if node not in nodes:
                    node.kill()
            if len(nodes) == 1:
                wait_for(lambda: request("PUT", nodes[0].host, 15004, bench_put(digest), timeout=30).status >= 500, 60, "no quorum is left")
            results = [rate(nodes) for _ in range(bench.runs)]
            yield Figure(name, "1/s", values(results, "per_second"), bar=20000)
            yield Figure(name + "_p99", "ms", values(results, "p99_ms"))


def bench_put(digest):
    return f"/tags/{escaped('bench/swarm:none')}/digest/{digest}"


def syncs(nodes):
    return [node.metric("kr_raft_log_syncs_total") for node in nodes]


def traced_syncs(node, seconds):
    """System calls that sync anything, counted from outside; None without strace."""
    if not shutil.which("strace"):
        return None
    trace = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,syncfs,msync", "-e", "signal=none", "-p", str(node.process.pid)],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    trace.terminate()
    return sum("sync" in line for line in trace.communicate()[1].splitlines())


def idle(bench):
    """A cluster that nobody uses, 128 shards: CPU of each node over 30 s, and what it synced."""
    with Cluster(bench.kraken, nodes=3) as cluster:
        cluster.start()
        settled(cluster)
        time.sleep(5)
        before, synced = [cpu_seconds([node.process]) for node in cluster.nodes], syncs(cluster.nodes)
        time.sleep(IDLE_SECONDS)
        after = [cpu_seconds([node.process]) for node in cluster.nodes]
        yield Figure("idle_128_shards_cpu_of_a_node", "%", [(b - a) * 100 / IDLE_SECONDS for a, b in zip(before, after)], bar=1, at_most=True, judge=max)
        yield Figure("idle_128_shards_log_syncs", "", [b - a for a, b in zip(synced, syncs(cluster.nodes))], bar=0, at_most=True, judge=max)
        traced = [traced_syncs(node, IDLE_SECONDS / 3) for node in cluster.nodes]
        if None not in traced:
            yield Figure("idle_128_shards_traced_syncs", "", traced, bar=0, at_most=True, judge=max)
    members = bench.etcd.members
    bench.etcd.settled()
    before = [cpu_seconds([member.process]) for member in members]
    time.sleep(IDLE_SECONDS)
    yield Figure("etcd_idle_cpu_of_a_member", "%", [(cpu_seconds([member.process]) - a) * 100 / IDLE_SECONDS for a, member in zip(before, members)])


def seconds_until_ready(nodes):
    began = time.monotonic()
    for node in nodes:
        node.start()
    waiting = list(nodes)
    while waiting:
        assert time.monotonic() - began < 300, "not ready within 300 s"
        waiting = [node for node in waiting if not node.is_ready()]
        time.sleep(0.002)
    return time.monotonic() - began


def restarts(bench):
    """With so many tags: one node that was stopped, one that was killed, and all three at once."""
    count = bench.words.tags
    with Cluster(bench.kraken, nodes=3) as cluster:
        cluster.start()
        digest = cluster.nodes[0].push_taggable("bench/r0", b"bench")
        bench.taggable(REPOSITORIES, cluster, [digest])
        fill = bench.ours("PUT", bench.put_target("bench/r{r}:t{i}", digest), cluster.nodes, clients=500, keys=count, limit=count)
        assert fill["good"] == count, fill
        yield Figure(f"fill_of_{count}_tags", "s", [fill["seconds"]])
        stopped, killed, together = [], [], []
        for run in range(bench.runs):
            node = cluster.nodes[run % 3]
            settled(cluster)
            node.stop()
            stopped.append(seconds_until_ready([node]))
            settled(cluster)
            node.kill()
            killed.append(seconds_until_ready([node]))
        for _ in range(bench.runs):
            settled(cluster)
            for node in cluster.nodes:
                node.kill()
            together.append(seconds_until_ready(cluster.nodes))
        for i in range(0, count, max(1, count // 100)):
            answer = cluster.nodes[i % 3].get_tag(f"bench/r{i % SHARDS}:t{i}")
            assert answer.body.decode() == digest, f"t{i}: {answer}"
        yield Figure("restart_stopped_node_ready", "s", stopped, bar=3, at_most=True)
        yield Figure("restart_killed_node_ready", "s", killed, bar=3, at_most=True)
        yield Figure("restart_all_killed_ready", "s", together, bar=3, at_most=True)


class Writer(threading.Thread):
    """Puts to these nodes, by eight clients, until it is stopped."""

    def __init__(self, bench, hosts, digest):
        super().__init__()
        self.bench, self.hosts, self.digest = bench, hosts, digest
        self.done, self.rates, self.refused, self.broken = threading.Event(), [], 0, []
        self.start()

    def run(self):
        to = ",".join(f"{node.host}:15004" for node in self.hosts)
        while not self.done.is_set():
            try:
                answer = self.bench.program("http_rate", "--to", to, "--method", "PUT", "--target", self.bench.put_target("bench/r{r}:w{i}", self.digest), "--keys", KEYS,
                                            "--groups", SHARDS, "--clients", 8, "--seconds", 1, strict=False)
                self.rates.append(answer["per_second"])
                self.refused += answer["bad"]
            except RuntimeError as error:
                self.broken.append(str(error))

    def stop(self):
        self.done.set()
        self.join()


def ring_of(node):
    with contextlib.suppress(*UNREACHABLE, KeyError):
        return request("GET", node.host, 14002, "/status?scope=node", timeout=10).json()["ring"]
    return {}


def folder_mb(path):
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names if os.path.exists(os.path.join(folder, name))) / 1e6


def replace(bench):
    """A node's disk is lost with so much metadata on it; writes go on while an empty folder takes its label, until every shard has all its
    replicas again. The metadata are tags with long names; each is two rows, and nothing of them compresses."""
    help_text = subprocess.run([bench.kraken, "repair", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if help_text.returncode != 0 or "replace LABEL" not in help_text.stdout:
        yield Figure("replace_full_redundancy", "s", [], bar=60, at_most=True, note="this build has no `kraken repair replace`")
        return
    with Cluster(bench.kraken, nodes=3) as cluster:
        cluster.start()
        digest = cluster.nodes[0].push_taggable("bench/r0", b"bench")
        bench.taggable(REPOSITORIES, cluster, [digest])
        tag = "bench/r{r}:t{i}" + "x" * 110
        row_bytes = 2 * len("bench/r100t1000000" + "x" * 110) + 32 + 50  # the tag's row, and the one that finds it by its manifest
        count = bench.words.metadata_mb * 1_000_000 // row_bytes
        fill = bench.ours("PUT", bench.put_target(tag, digest), cluster.nodes, clients=500, keys=count, limit=count)
        yield Figure(f"fill_of_{bench.words.metadata_mb}_mb", "s", [fill["seconds"]])
        seconds, rates, refused, copied = [], [], [], []
        for run in range(min(bench.runs, 3)):
            settled(cluster)
            lost = cluster.nodes[2 - run]
            staying = [node for node in cluster.nodes if node is not lost]
            before = ring_of(staying[0])["epoch"]
            writer = Writer(bench, staying, digest)
            try:
                lost.kill()
                shutil.rmtree(lost.folder)
                began = time.monotonic()
                lost.start()
                command = [bench.kraken, "repair", "replace", f"origin{lost.index}", "--host", staying[0].host]
                wait_for(lambda command=command: subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).returncode == 0, 120, "the new folder is taken")
                wait_for(lambda staying=staying, before=before: all(ring_of(node).get("epoch", 0) > before and ring_of(node).get("settled") for node in staying), 1200,
                         "every shard has all its replicas")
                seconds.append(time.monotonic() - began)
            finally:
                writer.stop()
            assert not writer.broken, writer.broken[0]
            rates += writer.rates
            refused.append(writer.refused)
            copied.append(folder_mb(os.path.join(lost.folder, "metadata")))
        yield Figure("replace_full_redundancy", "s", seconds, bar=60, at_most=True)
        yield Figure("replace_puts_meanwhile", "1/s", rates)
        yield Figure("replace_puts_refused", "", refused)
        yield Figure("replace_new_folder", "MB", copied)


FIGURES = {"puts": puts, "one_client": one_client, "gets": gets, "leader_killed": leader_killed, "leader_paused": leader_paused,
           "leader_cut_off": leader_cut_off, "announces": announces, "idle": idle, "restart": restarts, "replace": replace}
