"""Servers in network namespaces of their own, on one bridge of this machine, so that a link can be cut. Needs root and iproute2; what it
makes bears this process's number, and goes when it is closed."""
import os
import shutil
import subprocess


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Place:
    def __init__(self, name, link, address):
        self.name, self.link, self.address = name, link, address
        self.prefix = ["ip", "netns", "exec", name]  # of a command; the process keeps its number


class Network:
    @staticmethod
    def missing():
        """Why there can be none; empty if there can."""
        if os.geteuid() != 0:
            return "cutting a link needs root"
        if not shutil.which("ip"):
            return "cutting a link needs iproute2"
        probe = subprocess.run(["ip", "netns", "add", f"kb{os.getpid()}probe"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        subprocess.run(["ip", "netns", "del", f"kb{os.getpid()}probe"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return "" if probe.returncode == 0 else f"no network namespaces here: {probe.stdout.strip()}"

    def __init__(self, count):
        number = os.getpid()
        self.bridge = f"kb{number % 10**8}"
        net = f"10.213.{number % 256}"
        self.places = [Place(f"kb{number}n{i}", f"kb{number % 10**7}v{i}", f"{net}.{i + 1}") for i in range(count)]
        self.net = net

    def __enter__(self):
        try:
            ip("link", "add", self.bridge, "type", "bridge")
            ip("addr", "add", f"{self.net}.254/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
            for place in self.places:
                ip("netns", "add", place.name)
                ip("link", "add", place.link, "type", "veth", "peer", "name", "eth0", "netns", place.name)
                ip("link", "set", place.link, "master", self.bridge, "up")
                ip("-n", place.name, "addr", "add", f"{place.address}/24", "dev", "eth0")
                ip("-n", place.name, "link", "set", "eth0", "up")
                ip("-n", place.name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for words in [["link", "del", place.link] for place in self.places] + [["netns", "del", place.name] for place in self.places] + [["link", "del", self.bridge]]:
            subprocess.run(["ip", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
