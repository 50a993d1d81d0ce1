#!/usr/bin/env python3
"""The ring changes under load, by rolling restarts with a new hashstate: a node is added, one is taken out, one is replaced. No request
that is tried once more fails, and what was acknowledged is there on every node. Prints times and counts."""
import json
import os
import random
import shutil
import subprocess
import threading
import time

from kraken_cluster import SLACK, UNREACHABLE, Cluster, Node, random_bytes, request, run_tests, wait_for

FAST = "raft:\n  adopt_after: 1s\n"


class Load:
    """Tags put and read through whatever nodes are up; a request that fails is tried once more, through another node."""

    def __init__(self, nodes, digests, threads=3):
        self.nodes, self.digests = list(nodes), digests
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.requests = self.retried = self.failed = 0
        self.slowest, self.errors, self.acknowledged = 0.0, [], {}
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def _try(self, node, number, tag, digest):
        try:
            answer = node.put_tag(tag, digest, timeout=20) if digest else node.get_tag(tag, timeout=20)
            return answer if answer.status in (200, 404) else answer.status
        except UNREACHABLE as error:
            return repr(error)

    def _once(self, number, tag, digest, choose):
        with self.lock:
            nodes = [node for node in self.nodes if node.alive()]
        first = choose.choice(nodes)
        began = time.monotonic()
        answer = self._try(first, number, tag, digest)
        again = isinstance(answer, (int, str))
        if again:
            with self.lock:
                others = [node for node in self.nodes if node is not first and node.alive()]
            answer = self._try(choose.choice(others), number, tag, digest)
        took = time.monotonic() - began
        with self.lock:
            self.requests += 1
            self.retried += again
            self.slowest = max(self.slowest, took)
            if isinstance(answer, (int, str)):
                self.failed += 1
                self.errors.append((first.name, tag, answer))
                return None
        return answer

    def _run(self, number):
        choose = random.Random(number)
        i = 0
        while not self.stopping.is_set():
            tag, digest = f"load/r{i % 16}:t{number}", self.digests[i % len(self.digests)]
            if self._once(number, tag, digest, choose) is None:
                self.acknowledged.pop(tag, None)
            else:
                self.acknowledged[tag] = digest
                answer = self._once(number, tag, None, choose)
                if answer is not None:
                    assert answer.body.decode().strip() == digest, (tag, answer, digest)
            i += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def check(self, nodes):
        self.stop()
        for node in nodes:
            for tag, digest in self.acknowledged.items():
                answer = node.get_tag(tag, timeout=20)
                assert answer.status == 200 and answer.body.decode().strip() == digest, (node.name, tag, answer, digest)


def hashstate(nodes):
    return "".join(f"  {node.host}:\n    label: origin{node.index}\n    weight: 100\n" for node in nodes)


def ring(node):
    try:
        return node.status_of_itself()["ring"]
    except UNREACHABLE:
        return {}


def status_of_itself(self):
    return request("GET", self.host, 14002, "/status?scope=node", timeout=10).json()


Node.status_of_itself = status_of_itself


def settled(nodes, epoch):
    rings = [ring(node) for node in nodes]
    return all(one.get("epoch", 0) >= epoch and one.get("settled") for one in rings)


def roll(cluster, nodes, listed):
    for node in nodes:
        node.stop()
        cluster.write_config(node, hashstate(listed))
        node.start()
        cluster.wait_ready([node])


def report(what, began, load, before):
    print(f"  {what}: {time.monotonic() - began:.1f} s, {load.requests - before[0]} requests, {load.retried - before[1]} tried twice, "
          f"{load.failed - before[2]} failed, slowest so far {load.slowest:.2f} s", flush=True)


def test_add_remove_and_replace_under_load(kraken):
    with Cluster(kraken, nodes=3, node_yaml=FAST) as cluster:
        cluster.start()
        digests = [cluster.nodes[0].push_taggable("r/x", random_bytes(2_000, i)) for i in range(4)]
        old = list(cluster.nodes)
        load = Load(old, digests)
        try:
            # One more.
            began, before = time.monotonic(), (0, 0, 0)
            fourth = Node(cluster, "node", 3, f"{cluster.subnet.prefix}.4")
            cluster.nodes.append(fourth)
            cluster.write_config(fourth)
            fourth.start()
            roll(cluster, old, cluster.nodes)
            wait_for(lambda: settled(cluster.nodes, 2), 180, "the ring of four is settled")
            cluster.wait_ready([fourth])
            with load.lock:
                load.nodes.append(fourth)
            report("3 to 4 nodes", began, load, before)
            voters = {shard["shard"]: set(shard["voters"]) for shard in fourth.status()["shards"]}
            assert sum("origin3" in names for names in voters.values()) > len(voters) // 2, "the new node has its part"

            # One less.
            began, before = time.monotonic(), (load.requests, load.retried, load.failed)
            leaving, staying = cluster.nodes[1], [cluster.nodes[i] for i in (0, 2, 3)]
            roll(cluster, staying, staying)
            wait_for(lambda: "safe to stop" in ring(leaving).get("standing", ""), 180, "the node that leaves says that it may be stopped")
            with load.lock:
                load.nodes.remove(leaving)
            time.sleep(0.5)
            leaving.stop()
            wait_for(lambda: settled(staying, 3), 60, "the ring of three is settled")
            report("4 to 3 nodes", began, load, before)

            # A disk that is gone.
            began, before = time.monotonic(), (load.requests, load.retried, load.failed)
            lost = cluster.nodes[2]
            lost.kill()
            shutil.rmtree(lost.folder)
            lost.start()
            helper = cluster.nodes[0]
            command = [cluster.kraken, "repair", "replace", "origin2", "--host", helper.host]
            wait_for(lambda: subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False).returncode == 0, 60, "the new folder is taken")
            wait_for(lambda: settled(staying, 4), 180, "the replaced node has everything")
            cluster.wait_ready([lost])
            report("a node replaced", began, load, before)
        finally:
            load.stop()
        load.check(staying)
        words = subprocess.run([cluster.kraken, "status", "--host", staying[0].host], stdout=subprocess.PIPE, check=True).stdout.decode()
        assert "epoch 4" in words, words
        assert load.failed == 0, load.errors[:10]
        assert load.slowest < 10 * SLACK, load.slowest


def test_one_comes_and_one_goes_at_once_also_if_who_goes_leads_group_0(kraken):
    """Who goes keeps the old file and refuses who comes; as the leader of group 0 it lets another one lead."""
    with Cluster(kraken, nodes=3, node_yaml=FAST) as cluster:
        cluster.start()
        old = list(cluster.nodes)
        digests = [old[0].push_taggable("r/x", random_bytes(2_000, i)) for i in range(4)]
        labels = {f"origin{node.index}": node for node in old}
        wait_for(lambda: cluster.leaders().get(0) in labels, 30, "group 0 has a leader")
        leaving = labels[cluster.leaders()[0]]
        staying = [node for node in old if node is not leaving]
        comes = Node(cluster, "node", 3, f"{cluster.subnet.prefix}.4")
        cluster.nodes.append(comes)
        cluster.write_config(comes, hashstate([*staying, comes]))
        load = Load(old, digests)
        try:
            began = time.monotonic()
            comes.start()
            roll(cluster, staying, [*staying, comes])
            wait_for(lambda: settled([*staying, comes], 2), 180, "the ring with one for another is settled")
            cluster.wait_ready([comes])
            wait_for(lambda: "safe to stop" in ring(leaving).get("standing", ""), 60, "the node that goes says that it may be stopped")
            with load.lock:
                load.nodes.remove(leaving)
            time.sleep(0.5)
            leaving.stop()
            report("one comes, one goes", began, load, (0, 0, 0))
        finally:
            load.stop()
        load.check([*staying, comes])
        assert load.failed == 0, load.errors[:10]


def repair(cluster, *words):
    """`kraken repair ..` with what it printed."""
    return subprocess.run([cluster.kraken, "repair", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, encoding="utf-8")


def test_a_ring_that_waits_is_forced(kraken):
    """One of four hosts is gone for good and another is wanted elsewhere: two would leave at once, which only an operator may say."""
    with Cluster(kraken, nodes=4, node_yaml="raft:\n  adopt_after: 600s\n") as cluster:
        cluster.start()
        staying, leaving, dead = cluster.nodes[:2], cluster.nodes[2], cluster.nodes[3]
        digest = staying[0].push_taggable("r/x", random_bytes(2_000, 1))
        tags = [f"r/x{i}:t" for i in range(24)]
        for tag in tags:
            assert staying[0].put_tag(tag, digest).status == 200
        dead.kill()
        roll(cluster, staying, staying)

        def waiting():
            return [one["waits_for"] for one in map(ring, [*staying, leaving]) if one.get("waits_for")]

        wait_for(lambda: any("2 nodes would leave at once" in one for one in waiting()), 60, "the leader of the ring says what it waits for")
        asked = repair(cluster, "adopt", "--host", staying[0].host)
        assert asked.returncode != 0 and "--force" in asked.stdout, asked
        time.sleep(2)
        assert ring(staying[0])["epoch"] == 1, "not unless the operator insists"
        began = time.monotonic()
        forced = repair(cluster, "adopt", "--force", "--host", staying[0].host)
        assert forced.returncode == 0 and forced.stdout.count("waives the waits") == 3, forced
        wait_for(lambda: settled(staying, 2), 180, "the ring of two is settled")
        assert {one["label"] for one in ring(staying[0])["nodes"] if one["state"] == "active"} == {"origin0", "origin1"}, ring(staying[0])
        wait_for(lambda: "safe to stop" in ring(leaving).get("standing", ""), 60, "the node that leaves says that it may be stopped")
        leaving.stop()
        for node in staying:
            for tag in tags:
                answer = node.get_tag(tag)
                assert answer.status == 200 and answer.body.decode().strip() == digest, (node.name, tag, answer)
        assert staying[1].put_tag(tags[0], digest).status == 200
        print(f"  from 4 nodes, one of them dead, to 2 by force: {time.monotonic() - began:.1f} s", flush=True)


def test_a_node_that_moves_to_another_address_keeps_its_folder_and_its_shards(kraken):
    with Cluster(kraken, nodes=3, node_yaml=FAST) as cluster:
        cluster.start()
        digests = [cluster.nodes[0].push_taggable("r/x", random_bytes(2_000, i)) for i in range(4)]
        staying, moved = cluster.nodes[:2], cluster.nodes[2]
        first = {one["label"]: one for one in ring(staying[0])["nodes"]}["origin2"]
        voters = {shard["shard"]: sorted(shard["voters"]) for shard in staying[0].status()["shards"]}
        load = Load(staying, digests)
        try:
            began = time.monotonic()
            # The others have the new file first: whom they do not find at one address they look for at the other.
            address = f"{cluster.subnet.prefix}.9"
            lines = hashstate(cluster.nodes).replace(f"  {moved.host}:", f"  {address}:")
            for node in staying:
                node.stop()
                cluster.write_config(node, lines)
                node.start()
                cluster.wait_ready([node])
            moved.stop()
            moved.host = address
            cluster.write_config(moved, lines)
            moved.start()
            wait_for(lambda: settled(cluster.nodes, 2), 120, "the ring with the new address is settled")
            cluster.wait_ready([moved])
            report("another address", began, load, (0, 0, 0))
        finally:
            load.stop()
        load.check(cluster.nodes)
        now = {one["label"]: one for one in ring(staying[0])["nodes"]}["origin2"]
        assert now["host"] == moved.host and now["member"] == first["member"] and now["incarnation"] == first["incarnation"], (first, now)
        assert voters == {shard["shard"]: sorted(shard["voters"]) for shard in staying[0].status()["shards"]}, "no shard moved"
        assert all(node.metric("kr_raft_replicas_destroyed_total") == 0 for node in cluster.nodes)
        assert load.failed == 0, load.errors[:10]
        # With it and one other there is a quorum.
        staying[0].kill()
        assert moved.put_tag("r/x:last", digests[0], timeout=60).status == 200


def test_an_admin_endpoint_says_why_it_refuses(kraken):
    with Cluster(kraken, nodes=1) as cluster:
        cluster.start()
        node = cluster.nodes[0]
        for target, status, words in (("/raft/release?shard=1", 409, "shard 1 is not fenced on origin0"),
                                      ("/ring/replace?label=nobody", 404, "no node of the ring is called nobody")):
            answer = request("POST", node.host, 14002, target)
            assert answer.status == status and answer.body.decode() == words + "\n", (target, answer, answer.body)
        # As stock has it.
        missing = node.get_tag("r/x:t")
        assert missing.status == 404 and missing.body == b"", (missing, missing.body)


def test_clusters_of_one_two_four_and_five_nodes_say_what_they_promise(kraken):
    for count, said in ((1, "not the loss of its disk"), (2, "no write availability if either is down"), (4, "any one node may be down"), (5, "any one node may be down")):
        with Cluster(kraken, nodes=count) as cluster:
            cluster.start()
            words = cluster.nodes[-1].status()["words"]
            assert said in words and words.startswith(f"{count} node"), words
            digest = cluster.nodes[0].push_taggable("r/x", random_bytes(1_000, count))
            assert cluster.nodes[-1].put_tag("r/x:t", digest).status == 200
            print(f"  {words}", flush=True)
            if count == 2:
                cluster.nodes[1].kill()
                answer = cluster.nodes[0].put_tag("r/x:u", digest, timeout=60)
                assert answer.status in (503, 504), answer


if __name__ == "__main__":
    run_tests(globals())
