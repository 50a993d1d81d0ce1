#!/usr/bin/env python3
"""What must not stop the cluster, or lie: nodes that are restarted one after the other, a leader that is paused, wall clocks that
jump, a quorum that is gone (docs/consensus.md "Reads", "Time", "Fences")."""
import os
import re
import struct
import sys
import threading
import time

from kraken_cluster import SLACK, UNREACHABLE, Cluster, announce, digest_of, infohash_of, random_bytes, request, run_tests, wait_for

YEAR = 365 * 86400


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


# ---- reads without a quorum

def age_of(answer):
    found = re.fullmatch(r"age=([0-9.]+), index=([0-9]+)", answer.headers["Kraken-Stale"])
    assert found, dict(answer.headers)
    assert int(answer.headers["Age"]) == int(float(found[1])) and answer.headers["Warning"].startswith("110 "), dict(answer.headers)
    return float(found[1])


def stale_tag(node, tag):
    return request("GET", node.host, 15004, f"/tags/{tag.replace('/', '%2F')}?stale=true", timeout=20)


def test_two_of_three_nodes_gone_strict_is_503_and_stale_says_its_age(kraken):
    with Cluster(kraken, nodes=3, agents=2) as cluster:
        strict, lenient = cluster.agents
        with open(lenient.config, encoding="utf-8") as file:
            text = file.read().replace(f"  host: {lenient.host}\n", f"  host: {lenient.host}\n  tags: stale_without_quorum\n")
        with open(lenient.config, "w", encoding="utf-8") as file:
            file.write(text)
        cluster.start()
        node = cluster.nodes[0]
        manifest, _ = node.push_image("library/app", "v1", [random_bytes(50_000, 1)])
        wait_for(lambda: stale_tag(node, "library/app:v1").body.decode() == manifest, 20, "the tag is on the replica")
        with_quorum = stale_tag(node, "library/app:v1")
        assert with_quorum.status == 200 and age_of(with_quorum) < 5 * SLACK, with_quorum.headers
        for other in cluster.nodes[1:]:
            other.kill()
        gone = time.monotonic()
        refused = node.get_tag("library/app:v1", timeout=40)
        assert refused.status == 503 and refused.headers["Retry-After"], (refused, dict(refused.headers))
        print(f"  strict: 503 after {time.monotonic() - gone:.1f} s, Retry-After {refused.headers['Retry-After']}", flush=True)
        for _ in range(3):
            began = time.monotonic()
            stale = stale_tag(node, "library/app:v1")
            assert stale.status == 200 and stale.body.decode() == manifest, stale
            age = age_of(stale)
            # A node that led may have believed in itself for election_max more.
            assert began - gone - 2 * SLACK <= age <= time.monotonic() - gone + 3 * SLACK, (age, began - gone)
            print(f"  stale: {stale.headers['Kraken-Stale']}, Age {stale.headers['Age']}, answered in {time.monotonic() - began:.3f} s", flush=True)
            time.sleep(1)
        missing = stale_tag(node, "library/app:v2")
        assert missing.status == 404 and missing.headers["Warning"], missing
        by_registry = node.registry("GET", "/v2/library/app/manifests/v1?stale=true", timeout=40)
        assert by_registry.status == 200 and by_registry.headers["Docker-Content-Digest"] == manifest, by_registry
        age_of(by_registry)
        assert node.pull_manifest("library/app", "v1").status == 503
        refused = strict.pull_manifest("library/app", "v1")
        assert refused.status == 503 and refused.headers["Retry-After"], refused
        pulled = lenient.pull_manifest("library/app", "v1")
        assert pulled.status == 200 and pulled.headers["Docker-Content-Digest"] == manifest, pulled
        age_of(pulled)
        by_api = lenient.api("GET", "/tags/library%2Fapp:v1", timeout=40)
        assert by_api.status == 200 and by_api.body.decode() == manifest and age_of(by_api) > 0, by_api
        print(f"  agent with stale_without_quorum: {pulled.headers['Kraken-Stale']}", flush=True)
        for other in cluster.nodes[1:]:
            other.start()
        cluster.wait_ready(cluster.nodes)
        answer = node.get_tag("library/app:v1")
        assert answer.status == 200 and answer.headers["Kraken-Stale"] is None, dict(answer.headers)
        assert lenient.pull_manifest("library/app", "v1").headers["Kraken-Stale"] is None


# ---- wall clocks

class WallClocks:
    """Moves the wall clocks of nodes that were started with the nemesis' shim (tests/nemesis/nemesis_shim.cc)."""

    def __init__(self, cluster, shim):
        for node in cluster.nodes:
            self.jump([node], 0)
            node.environment = {"LD_PRELOAD": os.path.abspath(shim), "NEMESIS_CONTROL": self.path(node)}

    @staticmethod
    def path(node):
        return node.folder + ".clock"

    def jump(self, nodes, seconds):
        for node in nodes:
            mode = "r+b" if os.path.exists(self.path(node)) else "wb"
            with open(self.path(node), mode) as file:  # mapped by the process: must stay the same file
                file.write(struct.pack("=qq", seconds, 0))


def task_rows(node):
    return len(request("GET", node.host, 14002, "/inspect?family=task&limit=1000").json().get("rows", []))


def leader_changes(nodes):
    return sum(node.metric("kr_raft_leader_changes_total") for node in nodes)


def wait_until_leaders_rest(nodes):
    """Leaderships go where the ring has them some seconds after nodes have met or gone; then nothing moves them for five seconds."""
    last = {"changes": -1.0, "since": 0.0}

    def rest():
        changes = leader_changes(nodes)
        if changes != last["changes"]:
            last.update(changes=changes, since=time.monotonic())
        return time.monotonic() - last["since"] > 5

    wait_for(rest, 120, "no shard changes its leader for five seconds")


def test_a_wall_clock_that_jumps_a_year_expires_nothing(kraken, shim):
    assert shim, "needs --shim libnemesis_shim.so"
    with Cluster(kraken, nodes=3) as cluster:
        clocks = WallClocks(cluster, shim)
        cluster.start()
        node, _, away = cluster.nodes
        # One is away, so that a push leaves a task to copy it there.
        away.kill()
        running = cluster.nodes[:2]
        layer = random_bytes(60_000, 7)
        manifest, (layer_digest,) = node.push_image("library/time", "v1", [layer])
        begun = node.registry("POST", "/v2/library/time/blobs/uploads/", body=b"")
        location = begun.headers["Location"].replace(f"http://{node.host}:{node.registry_port}", "")
        content = random_bytes(40_000, 8)
        part = node.registry("PATCH", location, body=content[:10_000], headers={"Content-Type": "application/octet-stream"})
        assert part.status == 202, part
        location = part.headers["Location"].replace(f"http://{node.host}:{node.registry_port}", "")
        infohash = infohash_of(request("GET", node.host, 15003, f"/namespace/library%2Ftime/blobs/{layer_digest}/metainfo").json())
        for number, complete in ((1, True), (2, False)):
            assert announce(node, layer_digest, infohash, number, complete, ip=f"127.0.0.{90 + number}").status == 200
        wait_for(lambda: task_rows(node) > 0, 20, "a task to copy what the absent node lacks")
        wait_until_leaders_rest(running)

        def check(what):
            assert node.get_tag("library/time:v1").body.decode() == manifest, what
            assert running[1].pull_blob("library/time", layer_digest) == layer, what
            status = node.registry("GET", location)
            assert status.status == 204 and status.headers["Range"] == "0-9999", (what, status, dict(status.headers))
            handed = announce(node, layer_digest, infohash, 3, False, ip="127.0.0.93").json()["peers"]
            seen = {peer["ip"] for peer in handed}
            assert {"127.0.0.91", "127.0.0.92"} <= seen, (what, seen)
            assert task_rows(node) > 0, what
            for one in running:
                assert one.put_tag("library/time:v2", manifest).status == 200, what

        check("before")
        changes = leader_changes(running)
        for name, nodes, seconds in (("a year ahead", running, YEAR), ("a year behind", running, -YEAR), ("one ahead, one behind", running[:1], YEAR)):
            clocks.jump(nodes, seconds)
            year = int(re.search(r" (\d{4}) ", node.get_tag("library/time:v1").headers["Date"])[1])
            assert abs(year - time.gmtime().tm_year - round(seconds / YEAR)) <= 0, (name, year, "the shim does not work")
            time.sleep(3)
            check(name)
            assert leader_changes(running) == changes, name
            print(f"  {name} (the node's Date says {year}): tag, upload, peers, tasks are all there, no leader changed", flush=True)
        clocks.jump(running, 0)
        check("back")
        done = node.registry("PUT", location + ("&" if "?" in location else "?") + "digest=" + digest_of(content),
                             body=content[10_000:], headers={"Content-Type": "application/octet-stream"})
        assert done.status == 201, done
        away.start()
        cluster.wait_ready([away])
        wait_for(lambda: away.has_file(layer_digest), 120, "the task copies the layer to the node that was away")


# ---- nodes that are restarted or paused

class Load:
    """Clients that try an operation at one node and, if that fails, once at the next. Counts what failed twice."""

    def __init__(self, cluster, manifests, blob):
        self.cluster, self.manifests, self.blob = cluster, manifests, blob
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.operations = []  # (when it ended, seconds, kind)
        self.failures, self.retries = [], 0
        kinds = [self.put_tag, self.put_tag, self.get_tag, self.get_tag, self.pull, self.push]
        self.threads = [threading.Thread(target=self.run, args=(number, kind), daemon=True) for number, kind in enumerate(kinds)]
        for thread in self.threads:
            thread.start()

    def put_tag(self, node, number, turn):
        answer = node.put_tag(f"load/r{number}-{turn % 8}:t", self.manifests[turn % 2], timeout=20)
        assert answer.status == 200, answer

    def get_tag(self, node, number, turn):
        answer = node.get_tag(f"load/r{turn % 8}:fixed", timeout=20)
        assert answer.status == 200 and answer.body.decode() == self.manifests[0], answer

    def pull(self, node, number, turn):
        assert node.pull_blob("load/r0", self.blob[0], timeout=20) == self.blob[1]

    def push(self, node, number, turn):
        node.push_blob("load/r0", random_bytes(20_000, f"{number}/{turn}/{node.index}"), timeout=20)

    def run(self, number, what):
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            began = time.monotonic()
            node = self.cluster.nodes[(number + turn) % 3]
            try:
                try:
                    what(node, number, turn)
                except (AssertionError, *UNREACHABLE) as first:
                    with self.lock:
                        self.retries += 1
                    other = self.cluster.nodes[(number + turn + 1) % 3]
                    try:
                        what(other, number, turn)
                    except (AssertionError, *UNREACHABLE) as second:
                        with self.lock:
                            self.failures.append(f"{what.__name__}: {node.name}: {first!r}; then {other.name}: {second!r}")
            finally:
                ended = time.monotonic()
                with self.lock:
                    self.operations.append((ended, ended - began, what.__name__))
            time.sleep(0.005)

    def seconds(self, since, until):
        with self.lock:
            return [took for ended, took, _ in self.operations if since <= ended < until]

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"


def test_a_rolling_restart_under_load_fails_no_request_that_was_retried_once(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        node = cluster.nodes[0]
        blob = random_bytes(100_000, 3)
        digest = node.push_blob("load/r0", blob)
        manifests = []
        for seed in (1, 2):
            config = random_bytes(500, seed)
            for repository in [f"load/r{i}" for i in range(8)] + [f"load/r{number}-{i}" for number in (0, 1) for i in range(8)]:
                manifest = node.push_taggable(repository, config)
            manifests.append(manifest)
        for i in range(8):
            assert node.put_tag(f"load/r{i}:fixed", manifests[0]).status == 200
        time.sleep(4)  # until leaders are where the ring prefers them
        load = Load(cluster, manifests, (digest, blob))
        time.sleep(2)
        began = time.monotonic()
        time.sleep(10)
        quiet = load.seconds(began, time.monotonic())
        rolling = time.monotonic()
        for one in cluster.nodes:
            stopping = time.monotonic()
            code = one.stop()
            stopped = time.monotonic()
            assert code == 0, (one.name, code)
            one.start()
            cluster.wait_ready([one])
            print(f"  {one.name}: stopped in {stopped - stopping:.2f} s, ready again {time.monotonic() - stopped:.2f} s later", flush=True)
            time.sleep(6)  # until leaders have come back
        busy = load.seconds(rolling, time.monotonic())
        load.stop()
        added = quantile(busy, 0.99) - quantile(quiet, 0.99)
        print(f"  {len(quiet)} requests before: p50 {quantile(quiet, .5) * 1e3:.1f} ms, p99 {quantile(quiet, .99) * 1e3:.1f} ms; {len(busy)} during: "
              f"p50 {quantile(busy, .5) * 1e3:.1f} ms, p99 {quantile(busy, .99) * 1e3:.1f} ms, worst {max(busy) * 1e3:.0f} ms; "
              f"added p99 {added * 1e3:.1f} ms (bar 100 ms), {load.retries} retried once, {len(load.failures)} failed", flush=True)
        assert not load.failures, load.failures[:3]
        assert len(busy) > 100 and added < 1.0 * SLACK


def test_a_paused_leader_is_replaced(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        node = cluster.nodes[0]
        config = random_bytes(500, 5)
        repositories = [f"pause/r{i}" for i in range(12)]
        for repository in repositories:
            manifest = node.push_taggable(repository, config)
        time.sleep(4)
        recoveries = []
        for paused in cluster.nodes:
            others = [one for one in cluster.nodes if one is not paused]
            results = []

            def recover(repository, number):
                while True:
                    try:
                        if others[number % 2].put_tag(f"{repository}:t", manifest, timeout=20).status == 200:
                            break
                    except UNREACHABLE:
                        pass
                results.append(time.monotonic() - began)

            paused.pause()
            began = time.monotonic()
            threads = [threading.Thread(target=recover, args=(repository, number), daemon=True) for number, repository in enumerate(repositories)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60 * SLACK)
                assert not thread.is_alive(), f"no write within {60 * SLACK:.0f} s of pausing {paused.name}"
            recoveries.append(max(results))
            paused.resume()
            # Whoever was paused must not serve what it knew: its reads go through a quorum.
            for repository in repositories:
                assert paused.get_tag(f"{repository}:t", timeout=30).body.decode() == manifest
            cluster.wait_ready()
            time.sleep(5)
        print(f"  paused leader -> every shard written again: {', '.join(f'{one:.2f}' for one in recoveries)} s, median {quantile(recoveries, .5):.2f} s (bar 1.0 s)",
              flush=True)
        assert max(recoveries) < 20 * SLACK


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
