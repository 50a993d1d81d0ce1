#!/usr/bin/env python3
"""The work of scripts/quickstart: start a cluster, push an image, pull it through three agents, compare, tell."""
import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

NODES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
AGENTS = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]
NODE_PORTS = [5000, 5003, 14001, 14002, 15000, 15001, 15002, 15003, 15004]
AGENT_PORTS = [16000, 16001, 16002]
IMAGE = "demo/debian:v1"
DISK_BYTES_MIN = 2 << 30
READY_SECONDS = 60


class Failure(Exception):
    """One sentence that says what to do."""


def say(text):
    print(text, flush=True)


def get(url, timeout=10, accept="*/*"):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.read()


class Cluster:
    def __init__(self, kraken, folder):
        self.kraken, self.folder = kraken, folder
        self.pids = os.path.join(folder, "pids.json")

    def running(self):
        """Pids of ours that still run this binary."""
        try:
            with open(self.pids, encoding="utf-8") as file:
                recorded = json.load(file)
        except (OSError, ValueError):
            return {}
        return {name: pid for name, pid in recorded.items() if self.is_ours(pid)}

    def is_ours(self, pid):
        try:
            return os.path.basename(os.readlink(f"/proc/{pid}/exe")).split(" ")[0] == "kraken"
        except OSError:
            return False

    def check_room(self):
        if shutil.disk_usage(os.path.dirname(self.folder)).free < DISK_BYTES_MIN:
            raise Failure(f"less than {DISK_BYTES_MIN >> 30} GB are free where {self.folder} would be; free some and run this again")
        for host, ports in [(host, NODE_PORTS) for host in NODES] + [(host, AGENT_PORTS) for host in AGENTS]:
            for port in ports:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        probe.bind((host, port))
                    except OSError as error:
                        raise Failure(f"port {port} on {host} is taken ({error.strerror}); stop what holds it (ss -ltnp 'sport = :{port}'), "
                                      "or a cluster of an earlier run with ./scripts/quickstart --down") from None

    def write_config(self):
        os.makedirs(self.folder, exist_ok=True)
        hashstate = "".join(f"  {host}:\n    label: origin{i}\n    weight: 100\n" for i, host in enumerate(NODES))
        for i, host in enumerate(NODES):
            with open(os.path.join(self.folder, f"node{i}.yaml"), "w", encoding="utf-8") as file:
                file.write(f"node:\n  host: {host}\n\nhashstate:\n{hashstate}\nhashring:\n  max_replica: 2\n\n"
                           f"metadata:\n  path: {self.folder}/node{i}/metadata\nblobs:\n  path: {self.folder}/node{i}/blobs\n  reserve: 500MB\n")
        for i, host in enumerate(AGENTS):
            with open(os.path.join(self.folder, f"agent{i}.yaml"), "w", encoding="utf-8") as file:
                file.write(f"agent:\n  host: {host}\n\ncluster:\n  hosts: [{', '.join(NODES)}]\n\nstore:\n  path: {self.folder}/agent{i}\n  reserve: 500MB\n")

    def start(self):
        pids = {}
        for role, count in (("node", len(NODES)), ("agent", len(AGENTS))):
            for i in range(count):
                log = open(os.path.join(self.folder, f"{role}{i}.log"), "ab")
                process = subprocess.Popen([self.kraken, role, "--config", os.path.join(self.folder, f"{role}{i}.yaml")],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
                pids[f"{role}{i}"] = process.pid
                with open(self.pids, "w", encoding="utf-8") as file:
                    json.dump(pids, file)
        self.wait_ready(pids)

    def wait_ready(self, pids):
        end = time.monotonic() + READY_SECONDS
        waiting = {f"node{i}": f"http://{host}:14002/readyz" for i, host in enumerate(NODES)}
        waiting |= {f"agent{i}": f"http://{host}:16002/readiness" for i, host in enumerate(AGENTS)}
        while waiting:
            for name, url in list(waiting.items()):
                try:
                    get(url, timeout=2)
                    del waiting[name]
                except OSError:
                    if not self.is_ours(pids[name]):
                        raise Failure(f"{name} stopped at start; its last words: {self.tail(name)}") from None
            if waiting and time.monotonic() > end:
                name = next(iter(waiting))
                raise Failure(f"{name} is not ready after {READY_SECONDS} s; its last words: {self.tail(name)}")
            time.sleep(0.05)

    def tail(self, name):
        with open(os.path.join(self.folder, f"{name}.log"), encoding="utf-8", errors="replace") as file:
            return " | ".join(file.read().strip().splitlines()[-3:])

    def stop(self):
        ours = self.running()
        for pid in ours.values():
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 15
        while self.running() and time.monotonic() < end:
            time.sleep(0.05)
            for pid in ours.values():
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
        for pid in self.running().values():
            os.kill(pid, signal.SIGKILL)
        return len(ours)


def run(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failure(f"{' '.join(words[:2])} failed: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.returncode}")


def docker_answers():
    return shutil.which("docker") is not None and subprocess.run(["docker", "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def make_image(folder):
    layout = os.path.join(os.path.dirname(folder), ".quickstart-image")
    if not os.path.exists(os.path.join(layout, "oci-layout")):
        shutil.rmtree(layout, ignore_errors=True)
        run(sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_image.py"), layout)
    return layout


def push(layout, folder):
    where = f"{NODES[0]}:15000/{IMAGE}"
    if docker_answers():
        archive = os.path.join(folder, "image.tar")
        run("skopeo", "copy", f"oci:{layout}:v1", f"docker-archive:{archive}:{where}")
        run("docker", "load", "--input", archive)
        os.unlink(archive)
        run("docker", "push", where)
        return "docker"
    run("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:v1", f"docker://{where}")
    return "skopeo"


def manifest_of(host, port):
    repository, tag = IMAGE.split(":")
    content = get(f"http://{host}:{port}/v2/{repository}/manifests/{tag}",
                  accept="application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
    return json.loads(content), "sha256:" + hashlib.sha256(content).hexdigest()


def pull_all(folder):
    """All agents at once, each by its own client; returns seconds per agent."""
    pulls = os.path.join(folder, "pulls")
    shutil.rmtree(pulls, ignore_errors=True)
    os.makedirs(pulls)
    start = time.monotonic()
    running = {}
    for i, host in enumerate(AGENTS):
        running[i] = subprocess.Popen(["skopeo", "copy", "--src-tls-verify=false", f"docker://{host}:16000/{IMAGE}", f"dir:{pulls}/agent{i}"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = {}
    while running:
        for i, process in list(running.items()):
            if process.poll() is not None:
                if process.returncode != 0:
                    raise Failure(f"the pull through agent {AGENTS[i]} failed: {process.stderr.read().strip()}")
                seconds[i] = time.monotonic() - start
                del running[i]
        time.sleep(0.005)
    return seconds


def compare(folder, manifest, manifest_digest):
    """Every blob that every client stored has the digest that the pushed manifest names."""
    wanted = [manifest["config"]["digest"]] + [layer["digest"] for layer in manifest["layers"]]
    for i in range(len(AGENTS)):
        got = os.path.join(folder, "pulls", f"agent{i}")
        for digest, name in [(manifest_digest, "manifest.json")] + [(digest, digest.split(":")[1]) for digest in wanted]:
            hasher = hashlib.sha256()
            with open(os.path.join(got, name), "rb") as file:
                while block := file.read(1 << 20):
                    hasher.update(block)
            if "sha256:" + hasher.hexdigest() != digest:
                raise Failure(f"agent {AGENTS[i]} handed out wrong bytes for {digest}")
    return len(wanted) + 1


def metric(text, name, label=""):
    total = 0.0
    for line in text.splitlines():
        if line.startswith(name) and label in line:
            total += float(line.rsplit(" ", 1)[1])
    return total


def table(seconds):
    say("")
    say(f"{'agent':<14} {'time':>8} {'from origins':>14} {'from peers':>12}")
    total = [0.0, 0.0]
    for i, host in enumerate(AGENTS):
        text = get(f"http://{host}:16002/metrics").decode()
        origins = metric(text, "kr_p2p_received_bytes_total", 'from="origin"') / 1e6
        peers = metric(text, "kr_p2p_received_bytes_total", 'from="peer"') / 1e6
        total[0] += origins
        total[1] += peers
        say(f"{host:<14} {seconds[i]:>6.2f} s {origins:>11.1f} MB {peers:>9.1f} MB")
    say(f"{'all':<14} {max(seconds.values()):>6.2f} s {total[0]:>11.1f} MB {total[1]:>9.1f} MB")
    return total


def up(cluster, check):
    if cluster.running():
        raise Failure("a cluster of an earlier run is still there; stop it with ./scripts/quickstart --down")
    cluster.check_room()
    shutil.rmtree(cluster.folder, ignore_errors=True)
    cluster.write_config()
    say("1. An image out of Debian's packages: three layers, about 100 MB")
    layout = make_image(cluster.folder)
    say("2. Three nodes (127.0.0.1 to .3) and three agents (127.0.0.11 to .13)")
    cluster.start()
    start = time.monotonic()
    client = push(layout, cluster.folder)
    say(f"3. Pushed {IMAGE} to node 127.0.0.1 with {client} in {time.monotonic() - start:.2f} s")
    manifest, digest = manifest_of(NODES[2], 5000)
    seconds = pull_all(cluster.folder)
    blobs = compare(cluster.folder, manifest, digest)
    say(f"4. Pulled through all three agents at once; {blobs} digests compared on each, all equal")
    origins, peers = table(seconds)
    size = sum(layer["size"] for layer in manifest["layers"])
    if origins + peers < 2.9 * size / 1e6:
        raise Failure(f"the agents fetched {origins + peers:.0f} MB where three copies are {3 * size / 1e6:.0f} MB: something was not counted or not fetched")
    if peers == 0:
        raise Failure("no byte came from a neighbour: the swarm did not form")
    if not check:
        say(f"""
The cluster is running. To try next:
  {os.path.relpath(cluster.kraken)} status --host 127.0.0.1
  skopeo copy --dest-tls-verify=false docker-archive:IMAGE.tar docker://127.0.0.2:15000/my/app:v1
  skopeo inspect --tls-verify=false docker://127.0.0.12:16000/{IMAGE}
  docker pull 127.0.0.11:16000/{IMAGE}
  the status page: http://127.0.0.1:14002/
Stop it: ./scripts/quickstart --down      Configuration and logs: {os.path.relpath(cluster.folder)}/""")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kraken", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--down", action="store_true")
    words = parser.parse_args()
    cluster = Cluster(words.kraken, words.folder)
    if words.down:
        stopped = cluster.stop()
        shutil.rmtree(words.folder, ignore_errors=True)
        say(f"Stopped {stopped} processes." if stopped else "Nothing of ours was running.")
        return 0
    start = time.monotonic()
    held = False
    try:
        up(cluster, words.check)
        held = True
    except (Failure, OSError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        print(f"Logs are in {words.folder}; ./scripts/quickstart --down cleans up.", file=sys.stderr)
    if words.check or not held:
        cluster.stop()
    if words.check and held:
        shutil.rmtree(words.folder, ignore_errors=True)
        say(f"\nAll of it held, and everything is down again ({time.monotonic() - start:.1f} s).")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
