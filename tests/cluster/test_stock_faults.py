#!/usr/bin/env python3
"""What stock Kraken was seen to do, and this must not (issue: what must survive)."""
import http.client
import socket
import struct
import sys
import threading
import time

from kraken_cluster import UNREACHABLE, Cluster, announce, digest_of, infohash_of, random_bytes, request, run_tests, wait_for


def test_two_writers_of_one_tag_leave_nodes_that_agree(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        digests = [cluster.nodes[0].push_taggable("r/x", f"writer {i}".encode()) for i in range(2)]
        for tag in range(20):
            writers = [threading.Thread(target=cluster.nodes[i].put_tag, args=(f"r/x:t{tag}", digests[i])) for i in range(2)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            values = {node.get_tag(f"r/x:t{tag}").body.decode() for node in cluster.nodes}
            assert len(values) == 1 and values <= set(digests), values


def test_compare_and_swap_has_one_winner(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        digests = [cluster.nodes[0].push_taggable("r/x", f"writer {i}".encode()) for i in range(6)]
        answers = []
        writers = [threading.Thread(target=lambda i=i: answers.append((i, cluster.nodes[i % 3].put_tag("r/x:one", digests[i], headers={"If-None-Match": "*"}))))
                   for i in range(6)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        winners = [i for i, answer in answers if answer.status == 200]
        assert len(winners) == 1, answers
        for i, answer in answers:
            assert answer.status in (200, 409, 412), answer
        for node in cluster.nodes:  # a put that was refused cannot be read afterwards
            assert node.get_tag("r/x:one").body.decode() == digests[winners[0]]


def test_tag_of_a_blob_that_is_not_there_is_refused_and_cannot_be_read(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        answer = cluster.nodes[0].put_tag("r/x:ghost", digest_of(b"never pushed"))
        assert answer.status == 500 and b"not found" in answer.body, answer
        for node in cluster.nodes:
            assert node.get_tag("r/x:ghost").status == 404


def test_server_that_dies_in_mid_answer_leaves_no_complete_looking_200(kraken):
    with Cluster(kraken, nodes=3, max_replica=3) as cluster:
        cluster.start()
        digest = cluster.nodes[0].push_blob("r/x", random_bytes(64_000_000, 1))
        node = cluster.nodes[0]
        for port, target in ((15000, f"/v2/r/x/blobs/{digest}"), (15002, f"/namespace/r%2Fx/blobs/{digest}")):
            connection = http.client.HTTPConnection(node.host, port, timeout=60)
            connection.request("GET", target)
            answer = connection.getresponse()
            assert answer.status == 200
            assert len(answer.read(1_000_000)) == 1_000_000
            node.kill()
            try:
                rest = answer.read()
                raise AssertionError(f"port {port}: the body looked complete after {1_000_000 + len(rest)} bytes")
            except UNREACHABLE:
                pass
            connection.close()
            node.start()
            cluster.wait_ready([node])


def test_seeders_are_known_after_every_tracker_restarted(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        digest = cluster.nodes[0].push_blob("r/x", random_bytes(100_000, 1))
        metainfo = request("GET", cluster.nodes[0].host, 15003, f"/namespace/r%2Fx/blobs/{digest}/metainfo")
        assert metainfo.status == 200, metainfo
        infohash = infohash_of(metainfo.json())
        for peer in (1, 2):
            assert announce(cluster.nodes[0], digest, infohash, peer, True).status == 200

        def known(node):
            answer = announce(node, digest, infohash, 9, False)
            assert answer.status == 200, answer
            return {1, 2} <= {peer["peer_id"][0] for peer in answer.json()["peers"]}

        for node in cluster.nodes:
            wait_for(lambda node=node: known(node), 30, f"{node.name} hands out both seeders")
        for node in cluster.nodes:
            node.stop()
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        for node in cluster.nodes:
            wait_for(lambda node=node: known(node), 30, f"{node.name} hands out both seeders after the restart")


def frame(message):
    return struct.pack(">I", len(message)) + message


def bitfield_message(infohash, name, bits):
    def field(number, value):
        return bytes([number << 3 | 2, len(value)]) + value
    words = struct.pack(">QQ", bits, 0)
    inner = field(2, infohash.encode()) + field(3, name.encode()) + field(4, ("ab" * 20).encode()) + field(5, words) + field(6, b"r/x")
    return bytes([3 << 3 | 2, 0x80 | (len(inner) & 0x7f), len(inner) >> 7]) + inner


MALFORMED = {
    "request without its body": b"\x10\x01",
    "request of piece -1": b"\x10\x01\x22\x0d" + b"\x10" + b"\xff" * 9 + b"\x01" + b"\x20\x00",
    "payload of negative length": b"\x10\x02\x2a\x0b\x20" + b"\xff" * 9 + b"\x01",
    "payload nobody asked for": b"\x10\x02\x2a\x04\x10\x00\x20\x01x",
    "announce of piece -1": b"\x10\x03\x32\x0b\x10" + b"\xff" * 9 + b"\x01",
    "announce without its body": b"\x10\x03",
    "error without its body": b"\x10\x05",
    "an unknown type": b"\x10\x63",
    "no protobuf": b"\xff\xff\xff\xff\xff",
    "an empty message": b"",
}


def test_malformed_peer_messages_end_no_process(kraken):
    with Cluster(kraken, nodes=3, agents=1) as cluster:
        cluster.start()
        content = random_bytes(9_000_000, 1)
        digest = cluster.nodes[0].push_blob("r/x", content)
        agent = cluster.agents[0]
        assert agent.pull_blob("r/x", digest) == content
        infohash = infohash_of(request("GET", cluster.nodes[0].host, 15003, f"/namespace/r%2Fx/blobs/{digest}/metainfo").json())
        for host, port, process in ((agent.host, 16001, agent), (cluster.nodes[0].host, 15001, cluster.nodes[0])):
            for what, message in MALFORMED.items():
                for handshake in (True, False):
                    with socket.create_connection((host, port), timeout=10) as peer:
                        if handshake:
                            peer.sendall(frame(bitfield_message(infohash, digest.split(":")[1], 3)))
                        peer.sendall(frame(message))
                        time.sleep(0.01)
            with socket.create_connection((host, port), timeout=10) as peer:
                peer.sendall(b"\xff\xff\xff\xff" + b"x" * 100)
            assert process.alive(), f"{process.name} ended: {process.log_text()[-1000:]}"
        assert agent.is_ready() and cluster.nodes[0].is_ready()
        assert agent.pull_blob("r/x", digest) == content


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
