#!/usr/bin/env python3
"""Large blobs: no more memory for being large, no change of leader while they come. Long: with --full."""
import hashlib
import socket
import sys
import threading
import time

from kraken_cluster import SLACK, Cluster, run_tests, wait_for

MEGABYTE = bytes(range(256)) * 4096


def push_large(node, megabytes, seed):
    """POST, a chunked PATCH without Content-Range, PUT, as docker does; never more than a megabyte in memory."""
    hasher = hashlib.sha256()
    for i in range(megabytes):
        hasher.update(i.to_bytes(8, "big") + seed.to_bytes(8, "big") + MEGABYTE[16:])
    digest = "sha256:" + hasher.hexdigest()
    begun = node.registry("POST", "/v2/r/large/blobs/uploads/", body=b"")
    assert begun.status == 202, begun
    location = begun.headers["Location"].replace(f"http://{node.host}:15000", "")

    def chunks():
        for i in range(megabytes):
            yield i.to_bytes(8, "big") + seed.to_bytes(8, "big") + MEGABYTE[16:]

    patched = node.registry("PATCH", location, body=chunks(), headers={"Content-Type": "application/octet-stream"}, timeout=600)
    assert patched.status == 202, patched
    location = patched.headers["Location"].replace(f"http://{node.host}:15000", "")
    done = node.registry("PUT", location + ("&" if "?" in location else "?") + "digest=" + digest, body=b"", timeout=600)
    assert done.status == 201, done
    return digest


def test_a_blob_needs_no_more_memory_for_being_large(kraken):
    peaks = []
    for megabytes in (20, 2000):
        with Cluster(kraken, nodes=3, max_replica=2) as cluster:
            cluster.start()
            push_large(cluster.nodes[0], megabytes, 1)
            peaks.append([node.resident_bytes(peak=True) / 1e6 for node in cluster.nodes])
    differences = [large - small for small, large in zip(*peaks)]
    print(f"  peak resident of the nodes, MB: 20 MB {[f'{p:.0f}' for p in peaks[0]]}, 2 GB {[f'{p:.0f}' for p in peaks[1]]}", flush=True)
    assert max(differences) < 10, differences


def settled_leaders(cluster):
    """Preferred replicas take leadership over in the first seconds: until nothing has changed for five."""
    seen, since = {}, time.monotonic()

    def settled():
        nonlocal seen, since
        found = cluster.leaders()
        if found != seen or not found or not all(found.values()):
            seen, since = found, time.monotonic()
        return time.monotonic() - since > 5

    wait_for(settled, 120, "every shard keeps its leader for five seconds")
    return seen


def test_five_pushes_of_2_gb_at_once_change_no_leader(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        before = settled_leaders(cluster)
        failures = []

        def run(i):
            try:
                push_large(cluster.nodes[i % 3], 2000, i)
            except Exception as error:  # kept for the assertion below: a thread's own would be lost
                failures.append(repr(error))

        start = time.monotonic()
        threads = [threading.Thread(target=run, args=(i,)) for i in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        changed = {shard: (before[shard], leader) for shard, leader in cluster.leaders().items() if before[shard] != leader}
        print(f"  5 x 2 GB in {time.monotonic() - start:.0f} s, leaders changed: {len(changed)} of {len(before)}", flush=True)
        assert not changed, changed


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
