#!/usr/bin/env python3
"""The operational guide of the origin cluster, followed word for word: a node more, one less, another capacity, a failed node
replaced; `kraken -origin origin0 -repair` with the lines it prints; a dead disk, the scrub, and the repair of stopped nodes.

In every one of them clients go on: whatever was acknowledged stays readable through any node, and no request fails that its client
tried once more at another node."""
import os
import re
import shutil
import subprocess
import threading
import time

from kraken_cluster import SLACK, UNREACHABLE, Cluster, digest_of, random_bytes, run_tests, wait_for

FAST = "raft:\n  adopt_after: 2s\n"
LINE = re.compile(r"^origin: (origin\d), content: ([0-9a-f]{64}), (repaired|deleted): OK$")
BLOBS = 120


def hashstate(entries):
    """[(host, label, weight)] as the guide writes it."""
    return "".join(f"  {host}:\n    label: {label}\n    weight: {weight}\n" for host, label, weight in entries)


def repair(cluster, label, patience=90):
    """`kraken -origin LABEL -repair`; returns [(origin, content, what)]. KRAKEN_HOST is any node, as on a host that runs one."""
    host = next(node.host for node in cluster.nodes if node.alive())
    done = subprocess.run([cluster.kraken, "-origin", label, "-repair", "-patience", str(int(patience * SLACK))], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=600 * SLACK, env=dict(os.environ, KRAKEN_HOST=host), check=False)
    assert done.returncode == 0, (label, done.returncode, done.stdout[-500:], done.stderr[-2000:])
    lines = done.stdout.splitlines()
    matched = [LINE.match(line) for line in lines]
    assert all(matched), [line for line, match in zip(lines, matched) if not match][:3]
    print(f"  $ kraken -origin {label} -repair\n    {len(lines)} lines{': ' + lines[0][:60] + '..' if lines else ''}; {done.stderr.strip()}", flush=True)
    return [match.groups() for match in matched]


def owners_of(node, digest):
    """Hosts, as stock's clients ask for them."""
    locations = node.origin("GET", f"/blobs/{digest}/locations").headers["Origin-Locations"]
    return {location.rsplit(":", 1)[0] for location in locations.split(",")}


class Copies:
    """Which node has the file of which blob."""

    def __init__(self, cluster, digests):
        self.of = {digest: {node.host for node in cluster.nodes if node.has_file(digest)} for digest in digests}

    def total(self):
        return sum(map(len, self.of.values()))

    def moved_to(self, after):
        return sum(len(after.of[digest] - hosts) for digest, hosts in self.of.items())


def check_placed(cluster, digests, nodes):
    """Every blob's files are exactly its owners', each has the right bytes' length, and any node serves it."""
    copies = Copies(cluster, digests)
    for digest, content in digests.items():
        owners = owners_of(nodes[0], digest)
        assert copies.of[digest] == owners, (digest, copies.of[digest], owners)
        for node in nodes:
            if node.host in owners:
                assert os.path.getsize(node.blob_file(digest)) == len(content)
    for number, (digest, content) in enumerate(digests.items()):
        assert nodes[number % len(nodes)].pull_blob("r/x", digest) == content, digest
    return copies


class Clients:
    """Pushes and pulls at the nodes in turn. A request that fails is tried once more, at the next node; failing there too, it counts."""

    def __init__(self, nodes, digests):
        self.nodes, self.pushed, self.known = list(nodes), {}, dict(digests)
        self.refused, self.requests, self.retried = [], 0, 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(2)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120 * SLACK)

    def _twice(self, first, what):
        self.requests += 1
        nodes = list(self.nodes)
        try:
            return what(nodes[first % len(nodes)])
        except (*UNREACHABLE, AssertionError):
            self.retried += 1
        time.sleep(1.2)  # a leader change may be under way: clients wait for Retry-After
        try:
            return what(nodes[(first + 1) % len(nodes)])
        except (*UNREACHABLE, AssertionError) as error:
            self.refused.append(repr(error)[:300])
            return None

    def _run(self, number):
        count = 0
        while not self.stopping.is_set():
            count += 1
            content = random_bytes(9_000, f"client {number} {count}")
            digest = self._twice(count, lambda node: node.push_blob("r/x", content, timeout=30))
            if digest:
                self.pushed[digest] = content
            old = list(self.known.items())[(count * 7 + number) % len(self.known)]
            body = self._twice(count + 1, lambda node: node.pull_blob("r/x", old[0], timeout=30))
            if body is not None and body != old[1]:
                self.refused.append("wrong bytes of " + old[0])
            time.sleep(0.05)


def pushed(cluster, nodes, count=BLOBS):
    contents = [random_bytes(2_000 + 37 * i, f"blob {i}") for i in range(count)]
    return {nodes[i % len(nodes)].push_blob("r/x", content): content for i, content in enumerate(contents)}


def rolling_restart(cluster, nodes, entries):
    """The new file on every node, one restart after the other."""
    for node in nodes:
        cluster.write_config(node, hashstate(entries))
    for node in nodes:
        if node.process is not None:
            node.stop()
        node.start()
        cluster.wait_ready([node], 120)


def epoch(node):
    return node.status()["repair"]["epoch"]


def settled(nodes, seconds=180):
    """Every shard's leader found every record as the ring wants it, on the newest ring that any node knows."""
    def look():
        repair_now = nodes[0].status()["repair"]
        return repair_now["shards_led"] == repair_now["shards_satisfied"] == 128
    wait_for(look, seconds, "every shard's blobs are where the ring wants them")


def entries_of(nodes, weights=None):
    return [(node.host, f"origin{node.index}", (weights or [30000] * len(nodes))[i]) for i, node in enumerate(nodes)]


def started(cluster, nodes, entries):
    for node in nodes:
        cluster.write_config(node, hashstate(entries))
        node.start()
    cluster.wait_ready(nodes, 120)


def test_a_dead_disk_is_copied_again_unasked(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        digests = pushed(cluster, cluster.nodes)
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        dead = cluster.nodes[2]
        lost = [digest for digest in digests if dead.has_file(digest)]
        dead.stop()
        shutil.rmtree(os.path.join(dead.folder, "blobs"))
        dead.start()
        cluster.wait_ready([dead])
        begun = time.monotonic()
        with Clients(cluster.nodes, digests) as clients:
            wait_for(lambda: all(dead.has_file(digest) for digest in lost), 120, "the new disk has its copies")
        print(f"  {len(lost)} copies made anew, unasked, {time.monotonic() - begun:.1f} s after the node was ready", flush=True)
        assert not clients.refused, clients.refused[:3]
        settled(cluster.nodes)
        check_placed(cluster, digests, cluster.nodes)


def test_the_scrub_finds_what_no_record_names_and_what_is_missing(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        digests = pushed(cluster, cluster.nodes, 30)
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        node = cluster.nodes[0]
        mine = [digest for digest in digests if node.has_file(digest)]
        others = [digest for digest in digests if not node.has_file(digest)]
        node.stop()
        os.remove(node.blob_file(mine[0]))                      # missing
        with open(node.blob_file(mine[1]), "ab") as file:       # of the wrong size
            file.write(b"x")
        stray = random_bytes(1000, "stray")                     # no record
        copy = next(other for other in cluster.nodes if other.has_file(others[0]))
        for digest, content in ((digest_of(stray), stray), (others[0], open(copy.blob_file(others[0]), "rb").read())):
            os.makedirs(os.path.dirname(node.blob_file(digest)), exist_ok=True)
            with open(node.blob_file(digest), "wb") as file:
                file.write(content)
        node.start()
        cluster.wait_ready([node])
        wait_for(lambda: not node.has_file(digest_of(stray)), 120, "the file without a record is gone")
        wait_for(lambda: not node.has_file(others[0]), 120, "the file that its record does not name is gone")
        for digest in mine[:2]:
            wait_for(lambda: node.has_file(digest) and os.path.getsize(node.blob_file(digest)) == len(digests[digest]), 120, "the file is back")
        settled(cluster.nodes)
        check_placed(cluster, digests, cluster.nodes)
        print(f"  scrub: {next(one for one in node.status()['nodes'] if one['label'] == 'origin0')['repair']['scrub']}", flush=True)


def test_repair_of_a_cluster_that_is_as_it_should_be_changes_nothing(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        digests = pushed(cluster, cluster.nodes, 20)
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        before = Copies(cluster, digests).of
        for label in ("origin0", "origin1", "origin2"):
            assert repair(cluster, label) == []
        assert Copies(cluster, digests).of == before
        absent = subprocess.run([cluster.kraken, "-origin", "origin9", "-repair"], env=dict(os.environ, KRAKEN_HOST=cluster.nodes[0].host),
                                stderr=subprocess.PIPE, text=True, timeout=60 * SLACK, check=False)
        assert absent.returncode == 5 and "origin0, origin1, origin2" in absent.stderr, absent
        cluster.nodes[2].kill()
        silent = subprocess.run([cluster.kraken, "-origin", "origin0", "-repair", "-patience", "3"], env=dict(os.environ, KRAKEN_HOST=cluster.nodes[0].host),
                                stderr=subprocess.PIPE, text=True, timeout=120 * SLACK, check=False)
        assert silent.returncode == 4 and "origin2" in silent.stderr, silent
        print(f"  {silent.stderr.strip().splitlines()[-1]}", flush=True)


def test_offline_repair_of_stopped_nodes(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        digests = pushed(cluster, cluster.nodes, 40)
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        node = cluster.nodes[1]
        lost = [digest for digest in digests if node.has_file(digest)][:7]
        for one in cluster.nodes:
            one.stop()
        for digest in lost:
            os.remove(node.blob_file(digest))
        words = [cluster.kraken, "repair", "--offline", "--config", node.config]
        for one in cluster.nodes:
            words += ["--data", f"origin{one.index}={one.folder}/metadata,{one.folder}/blobs"]
        said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120 * SLACK, check=False)
        assert said.returncode == 6, said
        missing = {line.split(", ")[1].split(": ")[1] for line in said.stdout.splitlines() if ", missing" in line and line.startswith("origin: origin1,")}
        assert missing == {digest.split(":")[1] for digest in lost}, said.stdout
        assert not any(node.has_file(digest) for digest in lost), "nothing was to be changed"
        done = subprocess.run(words + ["--apply"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120 * SLACK, check=False)
        assert done.returncode == 0, done
        for digest in lost:
            assert digest_of(open(node.blob_file(digest), "rb").read()) == digest
        again = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120 * SLACK, check=False)
        assert again.returncode == 0 and "missing" not in again.stdout, again
        print(f"  {said.stderr.strip()}\n  {done.stderr.strip()}", flush=True)
        for one in cluster.nodes:
            one.start()
        cluster.wait_ready()
        settled(cluster.nodes)
        check_placed(cluster, digests, cluster.nodes)


def test_add_a_node(kraken):
    with Cluster(kraken, nodes=4, max_replica=2, node_yaml=FAST) as cluster:
        nodes = cluster.nodes
        started(cluster, nodes[:3], entries_of(nodes[:3]))
        digests = pushed(cluster, nodes[:3])
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        before = Copies(cluster, digests)
        with Clients(nodes[:3], digests) as clients:
            rolling_restart(cluster, nodes, entries_of(nodes))
            wait_for(lambda: epoch(nodes[0]) == 2, 120, "the ring with origin3 is adopted")
            lines = [line for label in ("origin0", "origin1", "origin2", "origin3") for line in repair(cluster, label)]
        assert not clients.refused, clients.refused[:3]
        after = check_placed(cluster, digests, nodes)
        moved = before.moved_to(after)
        share = moved / before.total()
        print(f"  from three to four nodes: {moved} of {before.total()} copies moved ({100 * share:.0f} %), all to origin3; "
              f"{len(clients.pushed)} pushed meanwhile, {clients.requests} requests, {clients.retried} tried again, none refused", flush=True)
        assert 0.15 < share < 0.35, share
        assert all(hosts - before.of[digest] <= {nodes[3].host} for digest, hosts in after.of.items()), "a copy moved that need not have"
        for digest, hosts in after.of.items():
            if nodes[3].host in hosts:
                assert ("origin3", digest.split(":")[1], "repaired") in lines, digest
        check_placed(cluster, clients.pushed, nodes)


def test_remove_a_node(kraken):
    with Cluster(kraken, nodes=4, max_replica=2, node_yaml=FAST) as cluster:
        nodes = cluster.nodes
        started(cluster, nodes, entries_of(nodes))
        digests = pushed(cluster, nodes)
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        with Clients(nodes[:3], digests) as clients:
            rolling_restart(cluster, nodes[:3], entries_of(nodes[:3]))
            wait_for(lambda: epoch(nodes[0]) == 2, 120, "the ring without origin3 is adopted")
            for label in ("origin0", "origin1", "origin2"):
                repair(cluster, label)
        nodes[3].stop()
        shutil.rmtree(os.path.join(nodes[3].folder, "blobs"))
        assert not clients.refused, clients.refused[:3]
        check_placed(cluster, digests, nodes[:3])
        check_placed(cluster, clients.pushed, nodes[:3])


def adopted_at(nodes, number):
    """When the first of the nodes took this ring, as the log says it; None: none has."""
    times = [line.split(" ", 1)[0] for node in nodes for line in node.log_text().splitlines() if f" node.ring epoch={number} " in line]
    return min(times, default=None)


def test_the_next_ring_waits_for_the_blobs_of_this_one(kraken):
    """Copies are slow; the file of a third ring is on all nodes long before the second has its blobs."""
    with Cluster(kraken, nodes=4, max_replica=2, node_yaml=FAST + "repair:\n  bytes_per_second: 1KB\n") as cluster:
        nodes = cluster.nodes
        started(cluster, nodes[:3], entries_of(nodes[:3]))
        digests = pushed(cluster, nodes[:3], 100)
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        rolling_restart(cluster, nodes, entries_of(nodes))
        wait_for(lambda: epoch(nodes[0]) == 2, 120, "the ring with origin3 is adopted")
        theirs = [digest for digest in digests if nodes[3].host in owners_of(nodes[0], digest)]
        assert len(theirs) > 10
        rolling_restart(cluster, nodes, entries_of(nodes, [30000, 30000, 60000, 30000]))
        left = sum(not nodes[3].has_file(digest) for digest in theirs)
        print(f"  the third ring's file is on all nodes; the second lacks {left} of {len(theirs)} copies", flush=True)
        assert left > 0, "the copies were not slow enough to show anything"
        wait_for(lambda: "or their blobs" in str(nodes[0].status()) or epoch(nodes[0]) == 3, 60, "the status says what the third ring waits for")
        wait_for(lambda: epoch(nodes[0]) == 3, 300, "the third ring is adopted")
        third = adopted_at(nodes, 3)
        copied = {}
        for node in nodes:
            for line in node.log_text().splitlines():
                made = re.search(r"^(\S+) .* (?:repair|tasks)\.copied digest=(sha256:[0-9a-f]{64}) to=origin3", line)
                if made:
                    copied[made.group(2)] = min(made.group(1), copied.get(made.group(2), made.group(1)))
        late = [digest for digest in theirs if copied.get(digest, "9") > third]
        assert not late, f"{len(late)} of {len(theirs)} blobs of the second ring were not copied when the third was adopted"
        assert adopted_at(nodes, 2) < third


def test_change_of_capacity(kraken):
    with Cluster(kraken, nodes=3, max_replica=2, node_yaml=FAST) as cluster:
        nodes = cluster.nodes
        started(cluster, nodes, entries_of(nodes))
        digests = pushed(cluster, nodes)
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        before = Copies(cluster, digests)
        with Clients(nodes, digests) as clients:
            rolling_restart(cluster, nodes, entries_of(nodes, [30000, 30000, 60000]))
            wait_for(lambda: epoch(nodes[0]) == 2, 120, "the ring with the new weight is adopted")
            for label in ("origin0", "origin1", "origin2"):
                repair(cluster, label)
        assert not clients.refused, clients.refused[:3]
        after = check_placed(cluster, digests, nodes)
        print(f"  origin2 from 30000 to 60000: {before.moved_to(after)} of {before.total()} copies moved", flush=True)
        assert before.moved_to(after) > 0
        assert all(hosts - before.of[digest] <= {nodes[2].host} for digest, hosts in after.of.items()), "a copy moved that need not have"


def test_replace_a_failed_node(kraken):
    """Same label and weight, another host, empty folders."""
    with Cluster(kraken, nodes=4, max_replica=2, node_yaml=FAST) as cluster:
        nodes = cluster.nodes
        started(cluster, nodes[:3], entries_of(nodes[:3]))
        digests = pushed(cluster, nodes[:3])
        wait_for(lambda: Copies(cluster, digests).total() == 2 * len(digests), 60, "two copies of each")
        failed, new = nodes[2], nodes[3]
        had = {digest for digest in digests if failed.has_file(digest)}
        failed.kill()
        shutil.rmtree(failed.folder)
        entries = entries_of(nodes[:2]) + [(new.host, "origin2", 30000)]
        with Clients(nodes[:2], digests) as clients:
            rolling_restart(cluster, nodes[:2], entries)
            cluster.write_config(new, hashstate(entries))
            new.start()
            wait_for(lambda: epoch(nodes[0]) == 2, 120, "the ring with the new host is adopted")
            repair(cluster, "origin2")  # also says that the new one takes the failed one's place
            cluster.wait_ready([new], 120)
        assert not clients.refused, clients.refused[:3]
        after = check_placed(cluster, digests, [nodes[0], nodes[1], new])
        assert {digest for digest, hosts in after.of.items() if new.host in hosts} == had, "the placement was not to change"


if __name__ == "__main__":
    run_tests(globals())
