#!/usr/bin/env python3
"""Push to any node, pull through any agent, peer to peer."""
import os
import sys

from kraken_cluster import Cluster, digest_of, random_bytes, run_tests, wait_for


def test_push_to_one_node_pull_through_three_agents(kraken):
    with Cluster(kraken, nodes=3, agents=3, max_replica=2) as cluster:
        cluster.start()
        layers = [random_bytes(size, size) for size in (9_000_001, 4_194_304, 700_000, 1)]
        manifest, digests = cluster.nodes[0].push_image("library/app", "v1", layers)
        for agent in cluster.agents:
            answer = agent.pull_manifest("library/app", "v1")
            assert answer.status == 200, answer
            assert digest_of(answer.body) == manifest
            assert answer.headers["Docker-Content-Digest"] == manifest
            for layer, digest in zip(layers, digests):
                assert agent.pull_blob("library/app", digest) == layer
        assert sum(agent.metric("kr_p2p_received_bytes_total", **{"from": "peer"}) for agent in cluster.agents) > 0


def test_any_node_takes_any_request(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        for i, node in enumerate(cluster.nodes):
            content = random_bytes(300_000, i)
            digest = node.push_blob("team/x", content)
            manifest = node.push_taggable("team/x", content)
            for other in cluster.nodes:
                assert other.pull_blob("team/x", digest) == content
                put = other.put_tag(f"team/x:t{other.index}", manifest)
                assert put.status == 200, put
            for other in cluster.nodes:
                for k in range(3):
                    assert other.get_tag(f"team/x:t{k}").body.decode() == manifest


def test_every_thread_of_a_node_waits_its_turn_and_an_agents_do_not(kraken):
    with Cluster(kraken, nodes=1, agents=1) as cluster:
        cluster.start()
        for daemon, policy in ((cluster.nodes[0], os.SCHED_BATCH), (cluster.agents[0], os.SCHED_OTHER)):
            threads = os.listdir(f"/proc/{daemon.process.pid}/task")
            assert len(threads) > 3, threads
            assert {os.sched_getscheduler(int(thread)) for thread in threads} == {policy}, daemon.name


def test_tag_pushed_again_serves_the_new_digest_on_every_node(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        for round_number in range(5):
            digest = cluster.nodes[round_number % 3].push_taggable("r/app", f"content {round_number}".encode())
            assert cluster.nodes[round_number % 3].put_tag("r/app:latest", digest).status == 200
            for node in cluster.nodes:
                assert node.get_tag("r/app:latest").body.decode() == digest


def test_push_kill_pull(kraken):
    """With slow elections, so that it runs under the thread sanitizer too."""
    slow = "raft:\n  beat: 200ms\n  election_min: 3s\n  election_max: 6s\n"
    with Cluster(kraken, nodes=3, agents=1, max_replica=2, node_yaml=slow) as cluster:
        cluster.start()
        layers = [random_bytes(5_000_000, 1), random_bytes(100_000, 2)]
        cluster.nodes[0].push_image("r/app", "before", layers)
        cluster.nodes[2].kill()
        more = random_bytes(3_000_000, 3)
        wait_for(lambda: pushes(cluster.nodes[0], more), 60, "a push after the kill")
        assert cluster.agents[0].pull_blob("r/app", digest_of(more)) == more
        assert wait_for(lambda: cluster.agents[0].pull_manifest("r/app", "before").status == 200, 60, "the tag can be read")
        assert cluster.agents[0].pull_blob("r/app", digest_of(layers[0])) == layers[0]
        cluster.nodes[2].start()
        cluster.wait_ready([cluster.nodes[2]])
        assert cluster.nodes[2].pull_blob("r/app", digest_of(more)) == more
        for process in cluster.nodes + cluster.agents:
            assert process.stop() == 0, f"{process.name} ended badly: {process.log_text()[-500:]}"


def pushes(node, content):
    """Whether a push gets through; between leaders it may be told to try again."""
    try:
        node.push_blob("r/app", content, timeout=30)
        return True
    except AssertionError as error:
        assert " 50" in f" {error}", error
        return False


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
