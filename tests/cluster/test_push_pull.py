#!/usr/bin/env python3
"""Push to any node, pull through any agent, peer to peer."""
import sys

from kraken_cluster import Cluster, digest_of, random_bytes, run_tests


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


def test_tag_pushed_again_serves_the_new_digest_on_every_node(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        for round_number in range(5):
            digest = cluster.nodes[round_number % 3].push_taggable("r/app", f"content {round_number}".encode())
            assert cluster.nodes[round_number % 3].put_tag("r/app:latest", digest).status == 200
            for node in cluster.nodes:
                assert node.get_tag("r/app:latest").body.decode() == digest


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
