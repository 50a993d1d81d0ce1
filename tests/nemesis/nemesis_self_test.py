#!/usr/bin/env python3
"""Are the nemesis's own tools to be believed? usage: nemesis_self_test.py KRAKEN

The proxy holds, refuses, slows and corrupts what it is told to and nothing else; the shim moves the wall clock, fills the disk and
diverts connections; and a cluster that did lose acknowledged writes, and a list that did lose a name, are found out.
"""
import mmap
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))

import history as histories  # noqa: E402
from clients import TagClients  # noqa: E402
from kraken_cluster import LockedSubnet, wait_for  # noqa: E402
from network import Network  # noqa: E402
from run import Tools, World, settle  # noqa: E402


class Echo:
    """Answers each byte, at PREFIX.(index + 1)."""

    def __init__(self, prefix, index, port):
        self.socket = socket.create_server((f"{prefix}.{index + 1}", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _serve(connection):
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass


def answers(connection, text=b"x" * 100, seconds=0.4):
    connection.settimeout(seconds)
    connection.sendall(text)
    try:
        return connection.recv(65536)
    except TimeoutError:
        return None


def test_the_proxy_does_to_a_link_what_it_is_told(tools):
    subnet = LockedSubnet()
    for index in range(3):
        Echo(subnet.prefix, index, 14001)
    network = Network(tools.proxy, subnet.prefix, 3)

    def dial(i, j):
        return socket.create_connection((f"{subnet.prefix}.{100 + 10 * i + j}", 14001))
    there, back, other = dial(0, 1), dial(1, 0), dial(0, 2)
    assert all(answers(link, seconds=10) == b"x" * 100 for link in (there, back, other))
    network.set([(0, 1)], "hold")  # one way: what 0 sends on the one connection, what 0 answers on the other
    assert answers(there, b"held") is None and answers(back, b"reply") is None and answers(other, seconds=10) == b"x" * 100
    new = dial(0, 1)
    assert answers(new, b"new") is None
    network.heal()
    for link, text in ((there, b"held"), (back, b"reply"), (new, b"new")):
        link.settimeout(10)
        assert link.recv(100) == text, "what was held comes once the link is open"
    network.set([(0, 1)], "delay 300")
    began = time.monotonic()
    assert answers(there, seconds=10) == b"x" * 100 and time.monotonic() - began >= 0.3
    network.set([(0, 1)], "corrupt 1")
    got = answers(there, seconds=10)
    assert len(got) == 100 and sum(bin(byte ^ ord("x")).count("1") for byte in got) == 1, got
    network.set([(0, 1)], "refuse")
    for link in (there, dial(0, 1)):
        try:
            link.settimeout(10)
            assert link.recv(1) == b""
        except ConnectionResetError:
            pass
    assert answers(other, seconds=10) == b"x" * 100 and answers(back, seconds=10) == b"x" * 100
    network.close()
    subnet.close()


def test_the_shim_moves_the_clock_fills_the_disk_and_diverts(tools):
    subnet = LockedSubnet()
    Echo(subnet.prefix, 1, 14001)
    network = Network(tools.proxy, subnet.prefix, 2)
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(16))
        file.flush()
        control = mmap.mmap(file.fileno(), 16)
        code = ("import os, socket, sys, time\n"
                "for line in sys.stdin:\n"
                "    s = socket.create_connection((line.strip(), 14001))\n"
                "    print(int(time.time()), time.monotonic(), os.statvfs('/tmp').f_bavail, s.getpeername()[0], flush=True)\n")
        environment = dict(os.environ, LD_PRELOAD=tools.shim, NEMESIS_CONTROL=file.name, NEMESIS_PREFIX=subnet.prefix, NEMESIS_SELF="0", NEMESIS_NODES="2")
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

        def ask():
            process.stdin.write(f"{subnet.prefix}.2\n".encode())
            process.stdin.flush()
            wall, monotonic, free, peer = process.stdout.readline().split()
            return int(wall) - time.time(), float(monotonic) - time.monotonic(), int(free), peer.decode()
        wall, monotonic, free, peer = ask()
        assert abs(wall) < 10 and free > 0 and peer == f"{subnet.prefix}.101", (wall, free, peer)
        control[0:8], control[8:16] = struct.pack("<q", -365 * 86400), struct.pack("<q", 1)
        wall, monotonic, free, _ = ask()
        assert abs(wall + 365 * 86400) < 10 and abs(monotonic) < 10 and free == 0, (wall, monotonic, free)
        control[0:16] = bytes(16)
        wall, _, free, _ = ask()
        assert abs(wall) < 10 and free > 0
        process.stdin.close()
        process.wait(10)
    network.close()
    subnet.close()


def test_a_list_that_lost_a_name_is_found():
    history = histories.History()
    history.add_name("r", "a", 1, 2)
    history.add_name("r", "b", 3, None)
    history.lists = [("r", 4, 5, {"a"}, "node0"), ("r", 4, 9, {"a", "b"}, "node1"), ("r", 6, 7, {"a"}, "node0")]
    assert history.check_lists() == []
    history.lists.append(("r", 10, 11, {"a"}, "node2"))
    assert len(history.check_lists()) == 1 and "earlier list" in history.check_lists()[0]
    history.lists[-1] = ("r", 10, 11, {"b"}, "node2")
    assert any("missing" in problem for problem in history.check_lists())
    history.lists[-1] = ("r", 10, 11, {"a", "b", "c"}, "node2")
    assert any("nobody had added" in problem for problem in history.check_lists())


def test_a_cluster_whose_disks_go_back_in_time_is_found_out(tools):
    """All nodes are killed and come back with what their disks had a while ago: acknowledged writes are lost, and it must show."""
    world = World(tools, 3, False, 1, sys.stdout)
    failed = True
    try:
        world.start_all()
        history = histories.History()
        clients = TagClients(world.cluster.nodes, history, "back", 1)
        clients.prepare()
        clients.start()

        def more(count):
            before = history.writes_ok
            wait_for(lambda: history.writes_ok >= before + count, 60, f"{count} more writes")
        more(200)
        for step in ("copy", "restore"):
            world.kill(world.cluster.nodes)
            for node in world.cluster.nodes:
                metadata, copy = os.path.join(node.folder, "metadata"), node.folder + ".copy"
                if step == "restore":
                    shutil.rmtree(metadata)
                shutil.copytree(*((metadata, copy) if step == "copy" else (copy, metadata)))
            for node in world.cluster.nodes:
                world.start(node)
            settle(world)
            more(200)
        clients.stop()
        assert not clients.read_everything(60)
        path = os.path.join(world.cluster.folder, "history.jsonl")
        history.write(path)
        verdict, text = histories.check(tools.history_check, path)
        print("\n".join(text.splitlines()[:12]))
        assert verdict == "ILLEGAL", verdict
        assert "none of these can come next" in text
        failed = False
    finally:
        world.close(failed)


def main():
    tools = Tools(sys.argv[1])
    for name, test in list(globals().items()):
        if name.startswith("test_") and (len(sys.argv) < 3 or name in sys.argv[2:]):
            began = time.monotonic()
            test(*([tools] if test.__code__.co_argcount else []))
            print(f"[ OK   ] {name} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
