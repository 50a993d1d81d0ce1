"""Debian's etcd, three members on addresses of their own, with its defaults: what the consensus figures are held beside."""
import contextlib
import os
import shutil
import signal
import subprocess

from kraken_cluster import UNREACHABLE, LockedSubnet, request, wait_for


class Member:
    def __init__(self, etcd, index, host, place=None):
        self.etcd, self.index, self.host = etcd, index, host
        self.name, self.address = f"etcd{index}", f"{host}:2379"
        self.link, self.prefix = (place.link, place.prefix) if place else ("", [])
        self.log = os.path.join(etcd.folder, f"{self.name}.log")
        self.process = None

    def start(self):
        peers = ",".join(f"{member.name}=http://{member.host}:2380" for member in self.etcd.members)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, "etcd", "--name", self.name, "--data-dir", os.path.join(self.etcd.folder, self.name),
                                             "--listen-client-urls", f"http://{self.address}", "--advertise-client-urls", f"http://{self.address}",
                                             "--listen-peer-urls", f"http://{self.host}:2380", "--initial-advertise-peer-urls", f"http://{self.host}:2380",
                                             "--initial-cluster", peers, "--initial-cluster-token", self.etcd.folder], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
            self.process.wait()
            self.process = None

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def get(self, target):
        with contextlib.suppress(*UNREACHABLE):
            answer = request("GET", self.host, 2379, target, timeout=5)
            if answer.status == 200:
                return answer.body.decode()
        assert self.process.poll() is None, f"{self.name} ended by itself: {self.log}"
        return ""


class Etcd:
    """`places`: network namespaces to run in, else addresses of loopback."""

    def __init__(self, folder, places=()):
        os.makedirs(folder)
        self.folder = folder
        self.subnet = None if places else LockedSubnet()
        self.members = []
        for i in range(3):
            place = places[i] if places else None
            self.members.append(Member(self, i, place.address if place else f"{self.subnet.prefix}.{i + 1}", place))

    def start(self):
        for member in self.members:
            member.start()
        self.settled()
        return self

    def leader(self):
        return next((member for member in self.members if "\netcd_server_is_leader 1" in member.get("/metrics")), None)

    def settled(self):
        """The leader, once every member is healthy."""
        wait_for(lambda: all("true" in member.get("/health") for member in self.members), 60, "etcd is healthy")
        return wait_for(self.leader, 60, "etcd has a leader")

    def close(self):
        for member in self.members:
            member.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.subnet:
            self.subnet.close()
