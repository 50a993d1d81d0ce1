"""Real processes for tests: a cluster on a loopback network of its own, and the HTTP that clients speak to it.

    from kraken_cluster import main

    def test(cluster):
        cluster.start()
        image = cluster.nodes[0].push_image("library/app", "v1", [b"layer one", b"layer two"])
        for agent in cluster.agents:
            assert agent.pull_image("library/app", "v1") == image

    if __name__ == "__main__":
        main(test, nodes=3, agents=3)

run as `test_x.py /path/to/kraken`. Everything listens on a /24 of 127.64-127.127 that the test has locked, with the
usual ports: node i on .i, agent i on .10+i. The folder with configurations, data and logs is removed when the test
passed; else the tail of every log is printed and the folder stays.

Environment: KRAKEN_TEST_SLOW=N multiplies every deadline (sanitizers), KRAKEN_TEST_KEEP=1 keeps the folder,
KRAKEN_TEST_DEBUG=1 makes the processes log every request.
"""
import argparse
import contextlib
import fcntl
import hashlib
import http.client
import inspect as _inspect
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

SLOW = float(os.environ.get("KRAKEN_TEST_SLOW", "1"))
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ACCEPT = ", ".join([MANIFEST_TYPE, INDEX_TYPE, "application/vnd.docker.distribution.manifest.v2+json",
                    "application/vnd.docker.distribution.manifest.list.v2+json"])

PROXY, PEER, ORIGIN, TRACKER, BUILD_INDEX, RAFT, ADMIN = 15000, 15001, 15002, 15003, 15004, 14001, 14002
BALANCED, BALANCED_TRACKER = 5000, 5003
AGENT_REGISTRY, AGENT_PEER, AGENT_SERVER = 16000, 16001, 16002


class Failure(AssertionError):
    """What a test found; its text is the whole message."""


def check(condition, message):
    if not condition:
        raise Failure(message() if callable(message) else message)


def wait(condition, seconds, what, every=0.05):
    """Calls `condition` until it gives something true, which is returned. Exceptions count as not yet."""
    end = time.monotonic() + seconds * SLOW
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = repr(value)
        except (OSError, http.client.HTTPException, Failure, ValueError, KeyError) as e:
            last = repr(e)
        if time.monotonic() > end:
            raise Failure(f"waited {seconds * SLOW:.0f} s for {what}; last: {last}")
        time.sleep(every)


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def random_bytes(size, seed=None):
    """The same seed gives the same bytes."""
    return random.Random(seed if seed is not None else os.urandom(8)).randbytes(size)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name, default=None):
        return self.headers.get(name.lower(), default)

    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def expect(self, *statuses):
        check(self.status in statuses, lambda: f"wanted {statuses}, got {self.status}: {self.text[:500]}")
        return self

    def __repr__(self):
        return f"<{self.status} {self.text[:200]!r}>"


def request(host, port, method, path, body=None, headers=None, timeout=30):
    """One request on a connection of its own. A body that ends early raises http.client.IncompleteRead."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout * SLOW)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        data = answer.read()
        found = {}
        for name, value in answer.getheaders():
            found[name.lower()] = found[name.lower()] + ", " + value if name.lower() in found else value
        return Response(answer.status, found, data)
    finally:
        connection.close()


class Subnet:
    """A locked /24 of 127.64-127.127: 127.a.b.0. The lock goes with the process."""

    def __init__(self):
        order = list(range(64 * 256))
        random.shuffle(order)
        for number in order:
            a, b = 64 + number // 256, number % 256
            path = os.path.join(tempfile.gettempdir(), f"kraken-net-127.{a}.{b}.lock")
            fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                continue
            with contextlib.suppress(OSError):
                if os.fstat(fd).st_ino != os.stat(path).st_ino:
                    raise OSError  # the one that had the lock has removed the file meanwhile
                self.prefix, self.fd, self.path = f"127.{a}.{b}", fd, path
                return
            os.close(fd)
        raise Failure("every /24 of 127.64-127.127 is locked by other tests")

    def address(self, last):
        return f"{self.prefix}.{last}"

    def close(self):
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        os.close(self.fd)


class Process:
    """One `kraken node` or `kraken agent`, started and ended any number of times. Its log is appended to."""

    role = "process"

    def __init__(self, cluster, name, host, config):
        self.cluster, self.name, self.host, self.config = cluster, name, host, config
        self.folder = os.path.join(cluster.folder, name)
        self.log_path = os.path.join(cluster.folder, name + ".log")
        self.config_path = os.path.join(cluster.folder, name + ".yaml")
        self.environment = {}
        self.process = None
        os.makedirs(self.folder, exist_ok=True)

    def write_config(self):
        with open(self.config_path, "w") as f:
            json.dump(self.config, f, indent=2)  # JSON is YAML

    def start(self):
        check(not self.running(), f"{self.name} runs already")
        self.write_config()
        environment = dict(os.environ, **self.environment)
        with open(self.log_path, "ab") as log:
            log.write(f"--- start {time.strftime('%H:%M:%S')}\n".encode())
            log.flush()
            self.process = subprocess.Popen([self.cluster.binary, self.role, "--config", self.config_path],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                            start_new_session=True)
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def stop(self, seconds=30):
        """SIGTERM; the exit code. Fails if the process does not end."""
        if self.process is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"{self.name} did not end within {seconds * SLOW:.0f} s of SIGTERM")

    def kill(self):
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def wait_exit(self, seconds=30):
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} still runs after {seconds * SLOW:.0f} s")

    def log(self):
        with contextlib.suppress(OSError):
            with open(self.log_path, "r", errors="replace") as f:
                return f.read()
        return ""

    def metrics(self):
        """Name with labels -> value."""
        out = {}
        for line in self.http("GET", "/metrics", port=self.metrics_port).expect(200).text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                out[name] = float(value)
        return out

    def metric(self, name):
        """The sum over all labels."""
        return sum(v for k, v in self.metrics().items() if k == name or k.startswith(name + "{"))

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    # Registry v2, on whatever port this process has it.

    def http(self, method, path, body=None, headers=None, port=None, timeout=30):
        return request(self.host, port or self.registry_port, method, path, body, headers, timeout)

    def pull_blob(self, repository, digest, timeout=60):
        """The bytes, checked against the digest."""
        body = self.http("GET", f"/v2/{repository}/blobs/{digest}", timeout=timeout).expect(200).body
        check(digest_of(body) == digest, lambda: f"{self.name} gave {len(body)} wrong bytes for {digest}")
        return body

    def pull_manifest(self, repository, reference, timeout=30):
        answer = self.http("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT}, timeout=timeout).expect(200)
        digest = digest_of(answer.body)
        check(answer.header("docker-content-digest") == digest,
              lambda: f"Docker-Content-Digest is {answer.header('docker-content-digest')}, the body's is {digest}")
        return answer

    def pull_image(self, repository, reference, timeout=120):
        """Every digest of the image, its manifest's first: all bytes fetched and checked."""
        manifest = self.pull_manifest(repository, reference, timeout)
        digests = [digest_of(manifest.body)]
        content = json.loads(manifest.body)
        for descriptor in [content["config"]] + content["layers"]:
            body = self.pull_blob(repository, descriptor["digest"], timeout)
            check(len(body) == descriptor["size"], f"{descriptor['digest']} has {len(body)} bytes, not {descriptor['size']}")
            digests.append(descriptor["digest"])
        return digests

    def tags(self, repository):
        return self.http("GET", f"/v2/{repository}/tags/list").expect(200).json()["tags"]


class Node(Process):
    role = "node"
    registry_port = PROXY
    metrics_port = ADMIN

    def __init__(self, cluster, number, config):
        super().__init__(cluster, f"node{number}", cluster.net.address(number), config)
        self.number, self.label = number, f"origin{number - 1}"

    def ready(self):
        return self.running() and self.http("GET", "/readyz", port=ADMIN, timeout=2).status == 200

    def wait_ready(self, seconds=60):
        def look():
            if not self.running():
                raise SystemExit(f"{self.name} ended with code {self.process.returncode}:\n{self.log()[-3000:]}")
            return self.ready()
        wait(look, seconds, f"{self.name} to be ready")
        return self

    def status(self):
        return self.http("GET", "/status", port=ADMIN).expect(200).json()

    def own_status(self):
        return self.http("GET", "/status?scope=node", port=ADMIN).expect(200).json()

    # Push, registry v2.

    def push_blob(self, repository, data, chunk=None, port=None, timeout=120):
        """The digest. chunk: PATCHes of so many bytes, else one PUT."""
        digest = digest_of(data)
        start = self.http("POST", f"/v2/{repository}/blobs/uploads/", port=port, timeout=timeout).expect(202)
        location = self._target(start.header("location"))
        if chunk:
            for offset in range(0, len(data), chunk):
                part = data[offset:offset + chunk]
                answer = self.http("PATCH", location, part, {"Content-Type": "application/octet-stream",
                                                             "Content-Range": f"{offset}-{offset + len(part) - 1}"}, port, timeout)
                location = self._target(answer.expect(202).header("location"))
            data = b""
        query = ("&" if "?" in location else "?") + "digest=" + urllib.parse.quote(digest)
        answer = self.http("PUT", location + query, data, {"Content-Type": "application/octet-stream"}, port, timeout).expect(201)
        check(answer.header("docker-content-digest", digest) == digest, "another digest in the answer to the push")
        return digest

    @staticmethod
    def _target(location):
        check(location, "an answer to an upload has no Location")
        parts = urllib.parse.urlsplit(location)
        return parts.path + ("?" + parts.query if parts.query else "")

    def put_manifest(self, repository, reference, content, media_type=MANIFEST_TYPE, headers=None, port=None, timeout=30):
        """The answer, whatever it is. `content`: bytes, or what becomes JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.http("PUT", f"/v2/{repository}/manifests/{reference}", body,
                         {"Content-Type": media_type, **(headers or {})}, port, timeout)

    def push_image(self, repository, tag, layers, config=None, chunk=None):
        """Every digest of the image, its manifest's first."""
        config = config if config is not None else json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {
            "type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}).encode()
        descriptors = []
        for data, media_type in [(config, CONFIG_TYPE)] + [(layer, LAYER_TYPE) for layer in layers]:
            digest = self.push_blob(repository, data, chunk)
            descriptors.append({"mediaType": media_type, "digest": digest, "size": len(data)})
        body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptors[0], "layers": descriptors[1:]}).encode()
        self.put_manifest(repository, tag, body).expect(201)
        return [digest_of(body)] + [d["digest"] for d in descriptors]

    # Build-index: a tag to a digest.

    def put_tag(self, tag, digest, headers=None, timeout=30):
        """tag: "repository:tag". The answer, whatever it is."""
        return self.http("PUT", f"/tags/{urllib.parse.quote(tag, safe=':')}/digest/{digest}", headers=headers, port=BUILD_INDEX, timeout=timeout)

    def get_tag(self, tag, timeout=10):
        """The digest, or None where there is no such tag."""
        answer = self.http("GET", f"/tags/{urllib.parse.quote(tag, safe=':')}", port=BUILD_INDEX, timeout=timeout).expect(200, 404)
        return answer.text if answer.status == 200 else None


class Agent(Process):
    role = "agent"
    registry_port = AGENT_REGISTRY
    metrics_port = AGENT_SERVER

    def __init__(self, cluster, number, config):
        super().__init__(cluster, f"agent{number}", cluster.net.address(10 + number), config)
        self.number = number

    def ready(self):
        return self.running() and self.http("GET", "/readiness", port=AGENT_SERVER, timeout=3).status == 200

    def wait_ready(self, seconds=60):
        def look():
            if not self.running():
                raise SystemExit(f"{self.name} ended with code {self.process.returncode}:\n{self.log()[-3000:]}")
            return self.ready()
        wait(look, seconds, f"{self.name} to be ready")
        return self

    def forget(self, digest):
        """Deletes the blob from the agent's cache."""
        return self.http("DELETE", f"/blobs/{digest}", port=AGENT_SERVER).expect(200)


def merge(base, over):
    """`over` on `base`, maps merged, the rest replaced; a new map."""
    out = dict(base)
    for key, value in (over or {}).items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


class Cluster:
    """nodes and agents, not started. node_config and agent_config are laid on the configuration of each."""

    def __init__(self, binary, nodes=3, agents=0, node_config=None, agent_config=None):
        self.binary = os.path.abspath(binary)
        self.net = Subnet()
        self.folder = tempfile.mkdtemp(prefix="kraken-test-")
        level = {"log": {"level": "debug" if os.environ.get("KRAKEN_TEST_DEBUG") else "info"}}
        self.hashstate = {self.net.address(i): {"label": f"origin{i - 1}", "weight": 100} for i in range(1, nodes + 1)}
        self.nodes, self.agents = [], []
        for i in range(1, nodes + 1):
            data = os.path.join(self.folder, f"node{i}")
            self.nodes.append(Node(self, i, merge(merge(level, {
                "node": {"host": self.net.address(i)},
                "hashstate": self.hashstate,
                "metadata": {"path": data + "/metadata"},
                "blobs": {"path": data + "/blobs", "uploads_path": data + "/uploads"},
            }), node_config)))
        for i in range(1, agents + 1):
            self.agents.append(self.new_agent_(i, merge(level, agent_config)))

    def new_agent_(self, number, config):
        return Agent(self, number, merge({
            "agent": {"host": self.net.address(10 + number)},
            "cluster": {"hosts": [node.host for node in self.nodes]},
            "store": {"path": os.path.join(self.folder, f"agent{number}")},
        }, config))

    def add_agent(self, config=None):
        agent = self.new_agent_(len(self.agents) + 1, config)
        self.agents.append(agent)
        return agent

    def processes(self):
        return self.nodes + self.agents

    def start(self, ready=True, seconds=60):
        for process in self.processes():
            if not process.running():
                process.start()
        if ready:
            for process in self.processes():
                process.wait_ready(seconds)
        return self

    def stop(self):
        """SIGTERM to all at once; fails if one does not end or does not end with 0."""
        running = [p for p in self.processes() if p.running()]
        for process in running:
            process.signal(signal.SIGTERM)
        codes = {p.name: p.stop() for p in running}
        bad = {name: code for name, code in codes.items() if code != 0}
        check(not bad, f"ended with other codes than 0: {bad}")

    def kill(self):
        for process in self.processes():
            process.kill()

    def leader_of(self, shard):
        """The node that leads the shard, or None."""
        for node in self.nodes:
            with contextlib.suppress(OSError, Failure, http.client.HTTPException):
                if node.running() and any(row["shard"] == shard and row.get("serving") for row in node.own_status()["shard"]):
                    return node
        return None

    def tails(self, lines=40):
        for process in self.processes():
            text = process.log().splitlines()
            print(f"===== {process.name} ({process.log_path}), last {min(lines, len(text))} of {len(text)} lines", file=sys.stderr)
            print("\n".join(text[-lines:]), file=sys.stderr)

    def close(self, keep):
        for process in self.processes():
            if process.running():
                process.kill()
        if keep or os.environ.get("KRAKEN_TEST_KEEP"):
            print(f"kept {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.net.close()


def in_parallel(calls):
    """Runs the functions at once, each in a thread; their results in order. The first exception is raised."""
    results, errors = [None] * len(calls), []

    def run(i, call):
        try:
            results[i] = call()
        except BaseException as e:  # told to the caller below
            errors.append(e)
    threads = [threading.Thread(target=run, args=(i, call)) for i, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


class Background:
    """Calls `step` again and again in a thread until stop(); its exceptions are kept in `errors`, in order with times."""

    def __init__(self, step):
        self.errors, self.count, self.longest = [], 0, 0.0
        self._end, self._last = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(step,), daemon=True)
        self._thread.start()

    def _run(self, step):
        while not self._end.is_set():
            try:
                step()
                now = time.monotonic()
                self.longest, self._last = max(self.longest, now - self._last), now  # the longest pause between successes
                self.count += 1
            except (OSError, http.client.HTTPException, Failure) as e:
                self.errors.append((time.monotonic(), e))
                time.sleep(0.01)

    def stop(self):
        self._end.set()
        self._thread.join()
        return self


def main(*tests, **options):
    """Runs each test on a cluster of its own, made with `options`; exit code 1 if one fails. Words on the command line
    after the binary choose tests by name."""
    parser = argparse.ArgumentParser(description=_inspect.getmodule(tests[0]).__doc__)
    parser.add_argument("binary", help="the kraken to test")
    parser.add_argument("names", nargs="*", help="only these tests")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = []
    for test in tests:
        if words.names and test.__name__ not in words.names:
            continue
        cluster = Cluster(words.binary, **{**options, **getattr(test, "options", {})})
        began = time.monotonic()
        good = False
        try:
            test(cluster)
            good = True
        except BaseException as e:
            if isinstance(e, Failure):
                print(f"FAILED {test.__name__}: {e}", file=sys.stderr)
                for frame in traceback.extract_tb(e.__traceback__):
                    print(f"  {os.path.basename(frame.filename)}:{frame.lineno} {frame.line}", file=sys.stderr)
            else:
                print(f"FAILED {test.__name__}", file=sys.stderr)
                traceback.print_exc()
            cluster.tails()
            failed.append(test.__name__)
            if isinstance(e, (KeyboardInterrupt, GeneratorExit)) or (isinstance(e, SystemExit) and e.code == 143):
                raise
        finally:
            cluster.close(keep=not good)
        print(f"{'passed' if good else 'FAILED'} {test.__name__} in {time.monotonic() - began:.1f} s", flush=True)
    sys.exit(1 if failed else 0)


def options(**values):
    """A decorator: the cluster this test wants."""
    def decorate(test):
        test.options = values
        return test
    return decorate
