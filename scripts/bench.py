#!/usr/bin/env python3
"""The work of scripts/bench: each figure is a function that yields one value a run and names its peer and its bar."""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "cluster"))
from bench_consensus import Consensus  # noqa: E402
from bench_consensus import FIGURES as CONSENSUS_FIGURES  # noqa: E402
from bench_figure import HEAD, Figure  # noqa: E402
from kraken_cluster import Cluster, LockedSubnet, digest_of, random_bytes, request, wait_for  # noqa: E402

BLOB_BYTES = 512 << 20
SECONDS = 4  # of load, a run
IDLE_SECONDS = 60


class Bench:
    def __init__(self, build, runs, seconds):
        self.kraken = os.path.join(build, "tools", "kraken")
        self.programs = os.path.join(build, "bench")
        self.runs, self.seconds = runs, seconds
        self.cluster = None

    def close(self, failed):
        if self.cluster is not None:
            self.cluster.close(failed=failed)

    def program(self, name, *words):
        done = subprocess.run([os.path.join(self.programs, name), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"{name} {' '.join(words)}: {done.stderr.strip()} {done.stdout.strip()}")
        return json.loads(done.stdout)

    def started(self):
        """The cluster all figures share, started at the first need: two copies of each blob, three agents."""
        if self.cluster is None:
            self.cluster = Cluster(self.kraken, nodes=3, agents=3, max_replica=2)
            self.cluster.start()
        return self.cluster

    def rate(self, target, port, method="GET", keys=1, **more):
        hosts = ",".join(f"{node.host}:{port}" for node in self.started().nodes)
        words = ["--to", hosts, "--clients", "64", "--seconds", str(self.seconds), "--method", method, "--target", target, "--keys", str(keys)]
        for key, value in more.items():
            words += [f"--{key}", value]
        return [self.program("http_rate", *words)["per_second"] for _ in range(self.runs)]

    def push(self, seed, size=BLOB_BYTES):
        return self.program("blob_push", "--to", f"{self.started().nodes[0].host}:15000", "--repository", "bench/push", "--bytes", str(size), "--seed", str(seed))

    def pull(self, agents, digest):
        hosts = ",".join(f"{agent.host}:16000" for agent in agents)
        return self.program("blob_pull", "--from", hosts, "--target", f"/v2/bench/push/blobs/{digest}")

    def forget(self, digest):
        for agent in self.started().agents:
            agent.api("DELETE", f"/blobs/{digest}")

    def given_by_origins(self):
        return sum(agent.metric("kr_p2p_received_bytes_total", **{"from": "origin"}) for agent in self.started().agents)


def disk_figure(folder):
    """MB/s of writing and syncing one file of the blob's size: what the disk gives one writer."""
    path = os.path.join(folder, "dd")
    start = time.monotonic()
    subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={BLOB_BYTES >> 20}", "conv=fdatasync"], check=True, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    os.unlink(path)
    return BLOB_BYTES / 1e6 / seconds


@contextlib.contextmanager
def docker_registry(folder):
    subnet = LockedSubnet()
    path = os.path.join(folder, "registry.yml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {folder}/registry\nhttp:\n  addr: {subnet.prefix}.1:5000\n")
    process = subprocess.Popen(["docker-registry", "serve", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(f"{subnet.prefix}.1", 5000), 30, "docker-registry answers")
        yield f"{subnet.prefix}.1:5000"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(os.path.join(folder, "registry"), ignore_errors=True)
        subnet.close()


@contextlib.contextmanager
def nginx(folder):
    subnet = LockedSubnet()
    root = os.path.join(folder, "nginx")
    os.makedirs(root)
    with open(os.path.join(root, "nginx.conf"), "w", encoding="utf-8") as file:
        file.write(f"worker_processes 2; daemon off; pid {root}/pid; error_log {root}/error.log; user root;\nevents {{ worker_connections 512; }}\n"
                   f"http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n"
                   f"uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\nserver {{ listen {subnet.prefix}.1:8080; root {root}/files; }} }}\n")
    os.makedirs(os.path.join(root, "files"))
    process = subprocess.Popen(["nginx", "-c", os.path.join(root, "nginx.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(f"{subnet.prefix}.1", 8080), 30, "nginx answers")
        yield f"{subnet.prefix}.1:8080", os.path.join(root, "files")
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(root, ignore_errors=True)
        subnet.close()


def answers(host, port):
    with contextlib.suppress(OSError):
        request("GET", host, port, "/", timeout=2)
        return True
    return False


# Figures. Each gets the Bench and yields Figure objects.

def push(bench):
    cluster = bench.started()
    values, disk = [], []
    for run in range(bench.runs):
        disk.append(disk_figure(cluster.folder) / 2)
        values.append(bench.push(1000 + run)["mb_per_second"])
    yield Figure("push_512mb", "MB/s", values, bar=0.8, peer="dd with sync / 2 copies", peer_values=disk)
    with docker_registry(cluster.folder) as where:
        theirs = [bench.program("blob_push", "--to", where, "--bytes", str(BLOB_BYTES), "--seed", str(2000 + run))["mb_per_second"] for run in range(bench.runs)]
    yield Figure("push_512mb_beside_registry", "MB/s", values, peer="docker-registry, 1 copy, no sync", peer_values=theirs)
    yield Figure("push_512mb_beside_seeds", "MB/s", values, peer="the seeds' figure", peer_values=[150])


def tag_put(bench):
    digest = bench.started().nodes[0].push_taggable("bench/tags", b"bench")
    values = bench.rate(f"/tags/bench%2Ftags%3At{{i}}/digest/{digest}", 15004, method="PUT", keys=1000)
    yield Figure("tag_put_64_clients", "1/s", values, bar=3000)


def tag_get(bench):
    node = bench.started().nodes[0]
    digest = node.push_taggable("bench/tags", b"bench")
    for i in range(100):
        assert node.put_tag(f"bench/tags{i % 10}:g{i}", digest).status == 200
    for i in range(100):
        assert node.put_tag(f"bench/tags:g{i}", digest).status == 200
    yield Figure("tag_get_64_clients", "1/s", bench.rate("/tags/bench%2Ftags%3Ag{i}", 15004, keys=100), bar=20000)


def metainfo(bench):
    digest = bench.started().nodes[0].push_blob("bench/meta", random_bytes(1 << 20, 1))
    yield Figure("metainfo_get_64_clients", "1/s", bench.rate(f"/namespace/bench%2Fmeta/blobs/{digest}/metainfo", 15003), bar=20000)


def pull_cached(bench):
    cluster = bench.started()
    digest = bench.push(3000)["digest"]
    agent = cluster.agents[0]
    bench.pull([agent], digest)
    ours, theirs = [], []
    with nginx(cluster.folder) as (where, files):
        content = request("GET", agent.host, 16000, f"/v2/bench/push/blobs/{digest}", timeout=120).body
        with open(os.path.join(files, "blob"), "wb") as file:
            file.write(content)
        del content
        for _ in range(bench.runs):
            theirs.append(bench.program("blob_pull", "--from", where, "--target", "/blob")["mb_per_second"])
            ours.append(bench.pull([agent], digest)["mb_per_second"])
    bench.forget(digest)
    yield Figure("pull_cached_512mb", "MB/s", ours, bar=0.7, peer="nginx, the same file", peer_values=theirs)


def pull_cold(bench):
    digest = bench.push(4000)["digest"]
    values = []
    for _ in range(bench.runs):
        bench.forget(digest)
        values.append(bench.pull(bench.cluster.agents[:1], digest)["mb_per_second"])
    bench.forget(digest)
    yield Figure("pull_cold_512mb_one_agent", "MB/s", values, bar=450)


def pull_three(bench):
    digest = bench.push(5000)["digest"]
    values, copies = [], []
    for _ in range(bench.runs):
        bench.forget(digest)
        before = bench.given_by_origins()
        values.append(bench.pull(bench.cluster.agents, digest)["mb_per_second"])
        copies.append((bench.given_by_origins() - before) / BLOB_BYTES)
    bench.forget(digest)
    yield Figure("pull_cold_512mb_three_agents", "MB/s", values, bar=400)
    yield Figure("pull_three_agents_origin_copies", "copies", copies, bar=1.5, at_most=True)


def pull_tiny(bench):
    cluster = bench.started()
    values = []
    for run in range(max(20, bench.runs)):
        layer = random_bytes(10_000, f"tiny {run}")
        manifest, (digest,) = cluster.nodes[run % 3].push_image("bench/tiny", f"t{run}", [layer])
        agent = cluster.agents[run % 3]
        start = time.monotonic()
        answer = agent.pull_manifest("bench/tiny", f"t{run}")
        assert digest_of(answer.body) == manifest
        config = answer.json()["config"]["digest"]
        assert len(agent.pull_blob("bench/tiny", config)) > 0
        assert agent.pull_blob("bench/tiny", digest) == layer
        values.append((time.monotonic() - start) * 1e3)
    yield Figure("pull_cold_10kb_image", "ms", values, bar=15, at_most=True)


def memory(bench):
    loaded = bench.started()
    with Cluster(bench.kraken, nodes=3, agents=1, max_replica=2) as idle:
        idle.start()
        time.sleep(5)
        nodes = [node.resident_bytes() / 1e6 for node in idle.nodes]
        agents = [agent.resident_bytes() / 1e6 for agent in idle.agents]
    yield Figure("node_resident_idle", "MB", nodes, bar=100, at_most=True)
    yield Figure("agent_resident_idle", "MB", agents, bar=25, at_most=True)
    digest = bench.push(6000)["digest"]
    bench.pull(loaded.agents, digest)
    time.sleep(IDLE_SECONDS)
    yield Figure("node_resident_after_load", "MB", [node.resident_bytes() / 1e6 for node in loaded.nodes], bar=250, at_most=True)
    yield Figure("agent_resident_after_load", "MB", [agent.resident_bytes() / 1e6 for agent in loaded.agents], bar=80, at_most=True)


FIGURES = {function.__name__: function for function in (push, tag_put, tag_get, metainfo, pull_cached, pull_cold, pull_three, pull_tiny, memory)}
CONSENSUS = "consensus"


def chosen(names):
    """The names of figures that these words mean: `consensus` is all of its figures, no word is everything."""
    every = list(FIGURES) + [f"{CONSENSUS}/{name}" for name in CONSENSUS_FIGURES]
    if not names:
        return every
    found = []
    for name in names:
        if name == CONSENSUS:
            found += [one for one in every if one.startswith(CONSENSUS + "/")]
        elif name in every:
            found.append(name)
        else:
            sys.exit(f"error: no figure {name}; there are: {', '.join([CONSENSUS] + every)}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--build", required=True)
    parser.add_argument("--json")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load, a run")
    parser.add_argument("--tags", type=int, default=1_000_000, help="of consensus/restart")
    parser.add_argument("--faults", type=int, default=10, help="of consensus/leader_*")
    parser.add_argument("--metadata-mb", type=int, default=1000, help="of consensus/replace")
    parser.add_argument("--list", action="store_true")
    words = parser.parse_args()
    names = chosen(words.names)
    if words.list:
        print("\n".join(names))
        return 0
    bench = Bench(words.build, words.runs, words.seconds)
    consensus = Consensus(words)
    rows = []
    print(HEAD, flush=True)
    failures = []
    failed = True
    try:
        for name in names:
            group, _, figure_name = name.rpartition("/")
            try:
                for figure in CONSENSUS_FIGURES[figure_name](consensus) if group else FIGURES[name](bench):
                    rows.append(figure.row())
                    print(figure.line(), flush=True)
            except (AssertionError, RuntimeError, OSError, subprocess.SubprocessError) as error:
                # The others are worth having all the same.
                failures.append(name)
                rows.append(Figure(name, "", [], note=f"failed: {error}").row())
                print(f"{name}: FAILED: {error}", flush=True)
        failed = bool(failures)
    finally:
        bench.close(failed)
        consensus.close(failed)
        if words.json:
            with open(words.json, "w", encoding="utf-8") as file:
                json.dump(rows, file, indent=1)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
