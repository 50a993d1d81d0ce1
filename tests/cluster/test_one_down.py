#!/usr/bin/env python3
"""One of three nodes down: everything works, for every digest, and what it missed is made good when it is back."""
import sys
import time

from kraken_cluster import SLACK, Cluster, digest_of, random_bytes, request, run_tests, wait_for


def test_push_pull_and_announce_with_one_node_down(kraken):
    with Cluster(kraken, nodes=3, agents=1, max_replica=2) as cluster:
        cluster.start()
        cluster.nodes[2].kill()
        up = cluster.nodes[:2]
        contents = [random_bytes(20_000, i) for i in range(24)]  # digests of every owner pair
        digests = [up[i % 2].push_blob("r/x", content) for i, content in enumerate(contents)]
        for i, (content, digest) in enumerate(zip(contents, digests)):
            assert up[(i + 1) % 2].pull_blob("r/x", digest) == content
            put = up[i % 2].put_tag(f"r/x:t{i}", up[i % 2].push_taggable("r/x", content))
            assert put.status == 200, put
        big = random_bytes(6_000_000, 99)
        digest = up[0].push_blob("r/x", big)
        assert cluster.agents[0].pull_blob("r/x", digest) == big


def test_blob_acknowledged_with_an_owner_down_gets_its_copy_when_the_owner_is_back(kraken):
    with Cluster(kraken, nodes=3, max_replica=3) as cluster:
        cluster.start()
        missing = cluster.nodes[2]
        missing.kill()
        digests = [cluster.nodes[0].push_blob("r/x", random_bytes(50_000, i)) for i in range(8)]
        assert not any(missing.has_file(digest) for digest in digests)
        missing.start()
        cluster.wait_ready([missing])
        back = time.monotonic()
        wait_for(lambda: all(missing.has_file(digest) for digest in digests), 120, "the node that was down has its copies")
        print(f"  {len(digests)} copies made {time.monotonic() - back:.1f} s after the node was ready", flush=True)


def test_holder_that_lost_a_file_or_has_a_damaged_one_is_repaired_by_a_read(kraken):
    with Cluster(kraken, nodes=3, max_replica=3) as cluster:
        cluster.start()
        content = random_bytes(5_000_000, 5)
        digest = cluster.nodes[0].push_blob("r/x", content)
        node = cluster.nodes[1]
        wait_for(lambda: node.has_file(digest), 60, "a copy on node1")
        node.stop()
        with open(node.blob_file(digest), "r+b") as file:
            file.seek(4_500_000)
            file.write(b"damage")
        node.start()
        cluster.wait_ready([node])
        assert node.pull_blob("r/x", digest) == content, "wrong bytes were served"
        wait_for(lambda: node.has_file(digest) and digest_of(open(node.blob_file(digest), "rb").read()) == digest, 60, "the damaged file is replaced")


def test_two_nodes_down_refuses_writes_and_serves_blobs(kraken):
    with Cluster(kraken, nodes=3, max_replica=3) as cluster:
        cluster.start()
        content = random_bytes(100_000, 1)
        digest = cluster.nodes[0].push_blob("r/x", content)
        digest = cluster.nodes[0].push_taggable("r/x", content)
        assert cluster.nodes[0].put_tag("r/x:kept", digest).status == 200
        wait_for(lambda: cluster.nodes[0].has_file(digest), 60, "a copy on node0")
        cluster.nodes[1].kill()
        cluster.nodes[2].kill()
        answer = cluster.nodes[0].put_tag("r/x:lost", digest)
        assert answer.status in (500, 503, 504), answer
        cluster.nodes[1].start()
        cluster.nodes[2].start()
        cluster.wait_ready()
        for node in cluster.nodes:
            assert node.get_tag("r/x:kept").body.decode() == digest
        if answer.status == 503:  # refused for certain: it must not come up afterwards
            assert cluster.nodes[0].get_tag("r/x:lost").status == 404


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
