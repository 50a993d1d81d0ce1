#!/usr/bin/env python3
"""Killed nodes lose nothing that was acknowledged (issue: what must survive)."""
import sys
import time

from kraken_cluster import SLACK, Cluster, run_tests, wait_for
from workload import Writers

PAUSE_SECONDS = 2 * 5  # the promise, with five-fold slack for slow machines


def grow(writers, blobs, seconds=120):
    """Until so many more blobs have been acknowledged."""
    before = writers.acknowledged()[0]
    wait_for(lambda: writers.acknowledged()[0] >= before + blobs, seconds, f"{blobs} more blobs acknowledged")


def test_each_node_killed_in_turn_under_load(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        writers = Writers(cluster).start()
        grow(writers, 30)
        for node in cluster.nodes:
            node.kill()
            killed = time.monotonic()
            grow(writers, 5)
            print(f"  {node.name} killed: five more pushes {time.monotonic() - killed:.2f} s later", flush=True)
            node.start()
            cluster.wait_ready([node])
            grow(writers, 10)
        longest = writers.stop()
        print(f"  {writers.acknowledged()} blobs and tags acknowledged, longest pause of a writer {longest:.2f} s", flush=True)
        assert longest < PAUSE_SECONDS * SLACK
        writers.check(cluster.nodes)


def all_killed(kraken, shim):
    with Cluster(kraken, nodes=3, max_replica=2, shim=shim) as cluster:
        cluster.start()
        writers = Writers(cluster).start()
        grow(writers, 40 if shim is None else 15, seconds=300)
        for node in cluster.nodes:
            node.process.send_signal(9)
        for node in cluster.nodes:
            node.kill()
        writers.stop()
        if shim is not None:
            forgotten = [cluster.forget_unsynced(node) for node in cluster.nodes]
            print(f"  operations taken back on the nodes: {forgotten}", flush=True)
            assert sum(forgotten) > 0, "the shim saw nothing to forget: it does not work"
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        writers.check(cluster.nodes)
        print(f"  {writers.acknowledged()} blobs and tags acknowledged, all there", flush=True)


def test_all_nodes_killed_at_once(kraken):
    all_killed(kraken, None)


def test_all_nodes_killed_and_what_was_not_synced_forgotten(kraken, shim):
    assert shim, "needs --shim libforget_unsynced.so"
    all_killed(kraken, shim)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
