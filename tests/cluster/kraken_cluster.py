"""Real processes for tests: a cluster of nodes and agents on a /24 of loopback that this test has locked.

    with Cluster(kraken, nodes=3, agents=3) as cluster:
        cluster.start()
        digest = cluster.nodes[0].push_blob("library/x", content)
        assert cluster.agents[0].pull_blob("library/x", digest) == content
        cluster.nodes[1].kill()

The product's own ports on addresses .1, .2, .. (nodes) and .11, .12, .. (agents). Only processes that it started are signalled.
Data and logs lie in a temporary folder, which stays, with the logs' tails printed, if the test fails. Waits are for conditions, with
deadlines far beyond what is expected (KRAKEN_TEST_SLACK multiplies them: sanitizer builds set it). Python's standard library only.
"""
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SLACK = float(os.environ.get("KRAKEN_TEST_SLACK", "1"))
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = ", ".join((OCI_MANIFEST, "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
                    "application/vnd.docker.distribution.manifest.list.v2+json"))


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def random_bytes(size, seed):
    return random.Random(seed).randbytes(size)


def wait_for(condition, seconds, what):
    """Until `condition` gives something true, which is returned."""
    end = time.monotonic() + seconds * SLACK
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds * SLACK:.0f} s: {what}")
        time.sleep(0.02)


def image_manifest(config, layers):
    """Over blobs that were pushed: (digest, size) pairs."""
    def descriptor(media_type, blob):
        return {"mediaType": media_type, "digest": blob[0], "size": blob[1]}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor("application/vnd.oci.image.config.v1+json", config),
                       "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers]}).encode()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


def request(method, host, port, target, body=None, headers=None, timeout=60):
    """One request on a connection of its own. OSError and http.client.HTTPException where there is no whole answer."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout * SLACK)
    try:
        connection.request(method, target, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


UNREACHABLE = (OSError, http.client.HTTPException)


def infohash_of(metainfo):
    """Of stock's metainfo as JSON."""
    info = metainfo["Info"]
    sums = "".join(f"i{piece}e" for piece in info["PieceSums"] or [])
    return hashlib.sha1(f"d6:Lengthi{info['Length']}e4:Name64:{info['Name']}11:PieceLengthi{info['PieceLength']}e9:PieceSumsl{sums}ee".encode()).hexdigest()


def announce(node, digest, infohash, peer_number, complete, ip="127.0.0.99", port=1):
    """As stock's agents announce; the peer's id is twenty times its number."""
    peer = {"peer_id": [peer_number] * 20, "ip": ip, "port": port, "origin": False, "complete": complete}
    body = {"name": digest.split(":")[1], "digest": digest, "info_hash": list(bytes.fromhex(infohash)), "peer": peer}
    return request("POST", node.host, 15003, f"/announce/{infohash}", body=json.dumps(body), headers={"Content-Type": "application/json"})


class LockedSubnet:
    """127.x.y.0/24, ours until close(): the kernel lets go of the lock when the process ends, whatever happens."""

    def __init__(self):
        folder = os.path.join(tempfile.gettempdir(), "kraken-test-subnets")
        os.makedirs(folder, exist_ok=True)
        choices = [(x, y) for x in range(64, 128) for y in range(1, 255)]
        random.shuffle(choices)
        for x, y in choices:
            self.file = open(os.path.join(folder, f"{x}.{y}"), "w", encoding="utf-8")
            with contextlib.suppress(OSError):
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.prefix = f"127.{x}.{y}"
                return
            self.file.close()
        raise AssertionError("no free /24 in 127.64 to 127.127")

    def close(self):
        self.file.close()


class Process:
    """One kraken process. `name` is node0, agent2, ..; its log is <folder>/<name>.log over all its lives."""

    def __init__(self, cluster, role, index, host):
        self.cluster, self.role, self.index, self.host = cluster, role, index, host
        self.name = f"{role}{index}"
        self.folder = os.path.join(cluster.folder, self.name)
        self.config = os.path.join(cluster.folder, f"{self.name}.yaml")
        self.log = os.path.join(cluster.folder, f"{self.name}.log")
        self.environment = {}
        self.prefix = []  # words before the command, as of `ip netns exec`
        self.process = None

    def start(self):
        assert self.process is None, f"{self.name} is running"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, self.cluster.kraken, self.role, "--config", self.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, **self.environment))
        return self

    def _end(self, number, seconds):
        if self.process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        try:
            code = self.process.wait(seconds * SLACK)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {seconds * SLACK:.0f} s of signal {number}") from None
        finally:
            self.process = None
        return code

    def kill(self):
        self._end(signal.SIGKILL, 30)

    def stop(self):
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM, 30)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_exit(self, seconds=30):
        """For a process that must end by itself."""
        code = self.process.wait(seconds * SLACK)
        self.process = None
        return code

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def resident_bytes(self, peak=False):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith("VmHWM:" if peak else "VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no resident memory in /proc")

    def is_ready(self):
        port, target = (14002, "/readyz") if self.role == "node" else (16002, "/readiness")
        try:
            return request("GET", self.host, port, target, timeout=5).status == 200
        except UNREACHABLE:
            assert self.process is None or self.process.poll() is None, f"{self.name} ended by itself: {self.log_text()[-2000:]}"
            return False

    def metric(self, name, **labels):
        """The sum over all series of this name that have these labels."""
        text = request("GET", self.host, 14002 if self.role == "node" else 16002, "/metrics").body.decode()
        total = 0.0
        for line in text.splitlines():
            if line.split("{")[0].split(" ")[0] == name and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total


class Node(Process):
    registry_port = 15000

    def registry(self, method, target, **more):
        return request(method, self.host, self.registry_port, target, **more)

    def push_blob(self, repository, content, timeout=120):
        """POST and one PUT; returns the digest."""
        digest = digest_of(content)
        begun = self.registry("POST", f"/v2/{repository}/blobs/uploads/", body=b"")
        assert begun.status == 202, begun
        location = begun.headers["Location"].replace(f"http://{self.host}:{self.registry_port}", "")
        done = self.registry("PUT", location + ("&" if "?" in location else "?") + "digest=" + digest, body=content,
                             headers={"Content-Type": "application/octet-stream"}, timeout=timeout)
        assert done.status == 201, done
        return digest

    def push_manifest(self, repository, reference, config, layers, headers=None):
        """An image manifest over blobs that were pushed: (digest, size) pairs. Returns its digest."""
        content = image_manifest(config, layers)
        done = self.registry("PUT", f"/v2/{repository}/manifests/{reference}", body=content, headers={"Content-Type": OCI_MANIFEST, **(headers or {})})
        assert done.status == 201, done
        return digest_of(content)

    def push_image(self, repository, tag, layers):
        """Layers as bytes; returns the manifest's digest and the layers' digests."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
                             "tag": tag}).encode()
        digests = [self.push_blob(repository, layer) for layer in layers]
        config_digest = self.push_blob(repository, config)
        return self.push_manifest(repository, tag, (config_digest, len(config)), list(zip(digests, map(len, layers)))), digests

    def push_taggable(self, repository, content):
        """A manifest, unnamed, whose config is this content: what a tag of stock's build-index may point to. Returns its digest."""
        config = self.push_blob(repository, content)
        body = image_manifest((config, len(content)), [])
        done = self.registry("PUT", f"/v2/{repository}/manifests/{digest_of(body)}", body=body, headers={"Content-Type": OCI_MANIFEST}, timeout=20)
        assert done.status == 201, done
        return digest_of(body)

    def pull_blob(self, repository, digest, timeout=120):
        answer = self.registry("GET", f"/v2/{repository}/blobs/{digest}", timeout=timeout)
        assert answer.status == 200, answer
        return answer.body

    def pull_manifest(self, repository, reference):
        return self.registry("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})

    # Build-index: stock's tag API.
    def put_tag(self, tag, digest, timeout=30, headers=None):
        return request("PUT", self.host, 15004, f"/tags/{tag.replace('/', '%2F')}/digest/{digest}", timeout=timeout, headers=headers)

    def get_tag(self, tag, timeout=30):
        return request("GET", self.host, 15004, f"/tags/{tag.replace('/', '%2F')}", timeout=timeout)

    # Origin: stock's blob API.
    def origin(self, method, target, **more):
        return request(method, self.host, 15002, target, **more)

    def status(self):
        return request("GET", self.host, 14002, "/status").json()

    def blob_file(self, digest):
        text = digest.split(":")[1]
        return os.path.join(self.folder, "blobs", text[:2], text[2:4], text)

    def has_file(self, digest):
        return os.path.exists(self.blob_file(digest))


class Agent(Process):
    registry_port = 16000
    registry = Node.registry
    pull_blob = Node.pull_blob
    pull_manifest = Node.pull_manifest

    def api(self, method, target, **more):
        return request(method, self.host, 16002, target, **more)


class Cluster:
    """Options are YAML lines for every node's, or agent's, file; `hashstate` replaces the usual one."""

    def __init__(self, kraken, nodes=3, agents=0, max_replica=3, node_yaml="", agent_yaml="", shim=None):
        self.kraken = os.path.abspath(kraken)
        self.shim = os.path.abspath(shim) if shim else None
        self.subnet = LockedSubnet()
        self.folder = tempfile.mkdtemp(prefix="kraken-test-")
        self.max_replica, self.node_yaml, self.agent_yaml = max_replica, node_yaml, agent_yaml
        self.nodes = [Node(self, "node", i, f"{self.subnet.prefix}.{i + 1}") for i in range(nodes)]
        self.agents = [Agent(self, "agent", i, f"{self.subnet.prefix}.{i + 11}") for i in range(agents)]
        for process in self.nodes + self.agents:
            self.write_config(process)

    def write_config(self, process, hashstate=None):
        hosts = ", ".join(node.host for node in self.nodes)
        if process.role == "node":
            hashstate = hashstate or "".join(f"  {node.host}:\n    label: origin{node.index}\n    weight: 100\n" for node in self.nodes)
            text = (f"node:\n  host: {process.host}\nhashstate:\n{hashstate}hashring:\n  max_replica: {self.max_replica}\n"
                    f"metadata:\n  path: {process.folder}/metadata\n  reserve: 64MB\n"
                    f"blobs:\n  path: {process.folder}/blobs\n  uploads_path: {process.folder}/uploads\n  reserve: 64MB\n{self.node_yaml}")
        else:
            text = (f"agent:\n  host: {process.host}\ncluster:\n  hosts: [{hosts}]\nstore:\n  path: {process.folder}\n  reserve: 64MB\n{self.agent_yaml}")
        with open(process.config, "w", encoding="utf-8") as file:
            file.write(text)
        if self.shim and process.role == "node":
            os.makedirs(process.folder, exist_ok=True)
            process.environment = {"LD_PRELOAD": self.shim, "FORGET_ROOT": process.folder, "FORGET_LOG": process.folder + ".undo"}

    def start(self):
        for process in self.nodes + self.agents:
            process.start()
        self.wait_ready()
        return self

    def wait_ready(self, processes=None, seconds=60):
        for process in processes or self.nodes + self.agents:
            wait_for(process.is_ready, seconds, f"{process.name} is ready")

    def forget_unsynced(self, node):
        """After kill(): takes back what the node had not synced; returns how many operations that were."""
        apply = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fault", "apply_undo.py")
        return int(subprocess.run([sys.executable, apply, node.folder, node.folder + ".undo"], check=True, stdout=subprocess.PIPE).stdout)

    def leaders(self):
        """{shard: label} as the first node that answers has it."""
        for node in self.nodes:
            with contextlib.suppress(*UNREACHABLE):
                return {shard["shard"]: shard["leader"] for shard in node.status()["shards"]}
        return {}

    def close(self, failed=False):
        for process in self.agents + self.nodes:
            if process.process is not None:
                with contextlib.suppress(AssertionError):
                    process.kill()
        if failed:
            for process in self.nodes + self.agents:
                if os.path.exists(process.log):
                    print(f"---- {process.name} ({process.host}): {process.log}", file=sys.stderr)
                    print("\n".join(process.log_text().splitlines()[-25:]), file=sys.stderr)
            print(f"---- data and logs are kept in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.subnet.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        reports = [process.name for process in self.nodes + self.agents if os.path.exists(process.log) and "Sanitizer" in process.log_text()]
        self.close(failed=kind is not None or bool(reports))
        if kind is None:
            assert not reports, f"a sanitizer reported in {reports}"


def run_tests(namespace):
    """Runs every test_* function of a test file, with the words of the command line: KRAKEN [--shim FILE] [NAME..]."""
    words = sys.argv[1:]
    shim = None
    if "--shim" in words:
        at = words.index("--shim")
        shim = words[at + 1]
        del words[at:at + 2]
    if not words:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} KRAKEN [--shim FILE] [NAME..]")
    kraken, names = words[0], words[1:]
    tests = {name: value for name, value in namespace.items() if name.startswith("test_") and callable(value)}
    chosen = names or list(tests)
    for name in chosen:
        if name not in tests:
            sys.exit(f"no test {name}; there are: {', '.join(tests)}")
    for name in chosen:
        start = time.monotonic()
        print(f"[ RUN  ] {name}", flush=True)
        arguments = {"kraken": kraken, "shim": shim}
        wanted = tests[name].__code__.co_varnames[:tests[name].__code__.co_argcount]
        tests[name](**{key: arguments[key] for key in wanted})
        print(f"[ OK   ] {name} ({time.monotonic() - start:.1f} s)", flush=True)
