#!/usr/bin/env python3
"""Agents that are killed, lied to, or lose their tracker still deliver the right bytes."""
import contextlib
import os
import socket
import struct
import sys
import threading
import time

from kraken_cluster import SLACK, UNREACHABLE, Cluster, announce, digest_of, infohash_of, random_bytes, request, run_tests, wait_for


def pull_in_thread(agent, digest, results, key):
    def run():
        try:
            results[key] = digest_of(agent.pull_blob("r/x", digest, timeout=180))
        except (AssertionError, *UNREACHABLE) as error:
            results[key] = error
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_agent_killed_in_the_middle_of_a_pull_resumes(kraken):
    # The limit makes the pull last some seconds, so that the kill falls into it.
    slow = "scheduler:\n  conn:\n    bandwidth:\n      enable: true\n      ingress_bits_per_sec: 160Mbit\n      egress_bits_per_sec: 800Mbit\n"
    with Cluster(kraken, nodes=3, agents=1, agent_yaml=slow) as cluster:
        cluster.start()
        content = random_bytes(80_000_000, 1)
        digest = cluster.nodes[0].push_blob("r/x", content)
        agent = cluster.agents[0]
        results = {}
        thread = pull_in_thread(agent, digest, results, "first")
        wait_for(lambda: agent.metric("kr_p2p_received_bytes_total") > 20_000_000, 60, "a quarter of the blob is there")
        agent.kill()
        thread.join()
        assert not isinstance(results["first"], str), "the pull ended before the kill"
        agent.start()
        cluster.wait_ready([agent])
        assert agent.pull_blob("r/x", digest, timeout=180) == content
        received = agent.metric("kr_p2p_received_bytes_total")
        print(f"  {received / 1e6:.0f} of {len(content) / 1e6:.0f} MB were fetched after the restart", flush=True)
        assert received < len(content) - 10_000_000, "the pieces it had were fetched again"


def test_damaged_cache_of_a_killed_agent_is_not_served(kraken):
    with Cluster(kraken, nodes=3, agents=1) as cluster:
        cluster.start()
        content = random_bytes(9_000_000, 1)
        digest = cluster.nodes[0].push_blob("r/x", content)
        agent = cluster.agents[0]
        assert agent.pull_blob("r/x", digest) == content
        agent.kill()
        damaged = 0
        for folder, _, names in os.walk(agent.folder):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.getsize(path) == len(content):
                    with open(path, "r+b") as file:
                        file.seek(5_000_000)
                        file.write(b"damage")
                    damaged += 1
        assert damaged == 1, damaged
        agent.start()
        cluster.wait_ready([agent])
        assert agent.pull_blob("r/x", digest) == content


def test_trackers_node_killed_in_mid_swarm_delays_no_pull(kraken):
    with Cluster(kraken, nodes=3, agents=3) as cluster:
        cluster.start()
        times = []
        for round_number, victim in enumerate([None, *cluster.nodes]):
            content = random_bytes(60_000_000, round_number)
            digest = cluster.nodes[0].push_blob("r/x", content)
            results = {}
            start = time.monotonic()
            threads = [pull_in_thread(agent, digest, results, agent.name) for agent in cluster.agents]
            if victim is not None:
                victim.kill()
            for thread in threads:
                thread.join()
            times.append(time.monotonic() - start)
            assert all(result == digest for result in results.values()), results
            if victim is not None:
                victim.start()
                cluster.wait_ready([victim])
        print(f"  three pulls of 60 MB: {times[0]:.2f} s; with a node killed: {', '.join(f'{t:.2f} s' for t in times[1:])}", flush=True)
        assert max(times[1:]) - times[0] < 3 * 5 * SLACK


def test_paused_holder_delays_no_pull(kraken):
    with Cluster(kraken, nodes=3, agents=1) as cluster:
        cluster.start()
        content = random_bytes(40_000_000, 1)
        digest = cluster.nodes[0].push_blob("r/x", content)
        for node in cluster.nodes:
            wait_for(lambda node=node: node.has_file(digest), 60, f"a copy on {node.name}")
        cluster.nodes[1].pause()
        start = time.monotonic()
        assert cluster.agents[0].pull_blob("r/x", digest) == content
        print(f"  40 MB with a frozen holder: {time.monotonic() - start:.2f} s", flush=True)
        cluster.nodes[1].resume()
        assert time.monotonic() - start < 5 * 5 * SLACK


def varint(value):
    out = b""
    while value > 0x7f:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def read_exactly(peer, size):
    data = b""
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def lie(peer, infohash, name, pieces, peer_id):
    """A seeder by stock's protocol (facts: frames of length and protobuf) whose every piece is wrong."""
    def message(number, body):
        return bytes([number << 3 | 2]) + varint(len(body)) + body

    def send(content, raw=b""):
        peer.sendall(struct.pack(">I", len(content)) + content + raw)

    read_exactly(peer, struct.unpack(">I", read_exactly(peer, 4))[0])
    send(message(3, message(2, infohash.encode()) + message(3, name.encode()) + message(4, peer_id.encode())
                 + message(5, struct.pack(">QQ", pieces, (1 << pieces) - 1))))
    while True:
        request = read_exactly(peer, struct.unpack(">I", read_exactly(peer, 4))[0])
        if request[:2] != b"\x10\x01":
            continue
        fields, at = {}, 4  # type, then field 4 with its length: index is field 2, length field 4
        while at < len(request):
            key, value, shift = request[at], 0, 0
            at += 1
            while True:
                value |= (request[at] & 0x7f) << shift
                shift, at = shift + 7, at + 1
                if request[at - 1] < 0x80:
                    break
            fields[key >> 3] = value
        body = (b"\x10" + varint(fields[2]) if fields.get(2) else b"") + b"\x20" + varint(fields[4])
        send(b"\x10\x02" + message(5, body), b"\0" * fields[4])


def test_peer_that_sends_wrong_bytes_is_dropped_and_the_pull_completes(kraken):
    with Cluster(kraken, nodes=3, agents=1) as cluster:
        cluster.start()
        content = random_bytes(120_000_000, 1)
        digest = cluster.nodes[0].push_blob("r/x", content)
        metainfo = request("GET", cluster.nodes[0].host, 15003, f"/namespace/r%2Fx/blobs/{digest}/metainfo").json()
        infohash, pieces = infohash_of(metainfo), len(metainfo["Info"]["PieceSums"])
        liar = f"{cluster.subnet.prefix}.99"
        served = []

        def serve(listener):
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    served.append(peer)
                    with contextlib.suppress(OSError), peer:
                        lie(peer, infohash, digest.split(":")[1], pieces, "01" * 20)

        with socket.create_server((liar, 16001)) as listener:
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
            for node in cluster.nodes:
                assert announce(node, digest, infohash, 1, True, ip=liar, port=16001).status == 200
            agent = cluster.agents[0]
            assert agent.pull_blob("r/x", digest, timeout=180) == content
            assert served, "the liar was never asked"
            assert agent.metric("kr_p2p_bad_pieces_total") >= 1
            print(f"  the liar was dialled {len(served)} times, {agent.metric('kr_p2p_bad_pieces_total'):.0f} wrong pieces", flush=True)


def test_range_and_head_through_an_agent(kraken):
    with Cluster(kraken, nodes=3, agents=1) as cluster:
        cluster.start()
        content = random_bytes(10_000_000, 1)
        digest = cluster.nodes[0].push_blob("r/x", content)
        agent = cluster.agents[0]
        ranged = agent.registry("GET", f"/v2/r/x/blobs/{digest}", headers={"Range": "bytes=9000000-9000099"})
        assert ranged.status == 206 and ranged.body == content[9_000_000:9_000_100], ranged
        assert ranged.headers["Content-Range"] == "bytes 9000000-9000099/10000000"
        head = agent.registry("HEAD", f"/v2/r/x/blobs/{digest}")
        assert head.status == 200 and head.headers["Content-Length"] == "10000000" and head.body == b""
        assert agent.registry("GET", f"/v2/r/x/blobs/{digest}", headers={"Range": "bytes=10000000-"}).status == 416
        assert agent.registry("GET", f"/v2/r/x/blobs/{digest_of(b'absent')}").status == 404
        assert agent.registry("POST", "/v2/r/x/blobs/uploads/", body=b"").status == 405


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
