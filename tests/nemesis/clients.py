"""Clients that write down what they did: tags by every door, compare-and-swap, lists; and blobs.

What an answer means (docs/architecture.md): 2xx it happened; 409, 412 the condition did not hold, and where the tag stood; 404 a
linearizable read found nothing; 429, 503, 507 nothing was changed; any other answer to a write, or none, leaves it open.
"""
import http.client
import json
import random
import socket
import threading

from history import now
from kraken_cluster import ACCEPT, OCI_MANIFEST, SLACK, UNREACHABLE, digest_of, image_manifest, random_bytes

REPOSITORIES = 8
OPERATIONS_PER_KEY = 700
REFUSED = (429, 503, 507)


class Connections:
    """Of one client: a connection to each node's port, kept."""

    def __init__(self, timeout):
        self.timeout, self.open = timeout, {}

    def request(self, node, port, method, target, body=None, headers=None):
        """(status, headers, body). ConnectionRefusedError: nobody heard it. Others of UNREACHABLE: somebody may have."""
        connection = self.open.get((node.host, port))
        if connection is None:
            connection = http.client.HTTPConnection(node.host, port, timeout=self.timeout * SLACK)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open[node.host, port] = connection
        try:
            connection.request(method, target, body=body, headers=headers or {})
            answer = connection.getresponse()
            content = answer.read()
        except UNREACHABLE:
            self.open.pop((node.host, port), None)
            connection.close()
            raise
        if answer.will_close:
            self.open.pop((node.host, port), None)
            connection.close()
        return answer.status, answer.headers, content

    def close(self):
        for connection in self.open.values():
            connection.close()
        self.open.clear()


def revision_of(headers):
    return int(headers.get("Kraken-Tag-Revision", "0"))


def repository_of(key):
    return int(key.split(":")[0].removeprefix("nemesis/r"))


class Clients:
    """Threads that go on until they are told to stop; one that does not come back is an anomaly of the history."""

    what = "client"

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60 * SLACK)
            if thread.is_alive():
                self.history.anomaly(f"a {self.what} hangs")


class TagClients(Clients):
    """Threads that read and write a few tags, each in a repository (so mostly in a shard) of its own. Two for each node, which stay
    with it, so that one that does not answer stops no others; three go anywhere."""

    def __init__(self, nodes, history, phase, seed, timeout=4, pause=0.0):
        self.nodes, self.history, self.phase, self.timeout, self.pause = nodes, history, phase, timeout, pause
        self.seed, self.stopping = seed, threading.Event()
        self.lock = threading.Lock()
        self.done = [0] * REPOSITORIES
        self.pools = [[] for _ in range(REPOSITORIES)]  # manifests that no tag points to yet
        self.numbers = 0
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(2 * len(nodes) + 3)]
        self.threads.append(threading.Thread(target=self._stock, daemon=True))

    def prepare(self):
        """The one config that all manifests refer to."""
        self.config = (self.nodes[0].push_blob("nemesis/r0", f"config {self.phase}".encode()), len(f"config {self.phase}"))

    def key(self, repository):
        return f"nemesis/r{repository}:{self.phase}-{self.done[repository] // OPERATIONS_PER_KEY}"

    def keys(self):
        return sorted({operation["key"] for operation in self.history.operations})

    def _manifest(self):
        with self.lock:
            self.numbers += 1
            number = self.numbers
        body = json.loads(image_manifest(self.config, []))
        body["annotations"] = {"number": f"{self.phase}/{number}"}
        return json.dumps(body).encode()

    def _stock(self):
        """Keeps a few manifests at hand that a tag can be put to by digest. Not recorded: pushing one twice is harmless."""
        connections, rng = Connections(self.timeout), random.Random(f"{self.seed}/stock")
        while not self.stopping.is_set():
            repository = min(range(REPOSITORIES), key=lambda i: len(self.pools[i]))
            if len(self.pools[repository]) >= 12:
                self.stopping.wait(0.02)
                continue
            body = self._manifest()
            try:
                status, _, _ = connections.request(rng.choice(self.nodes), 15000, "PUT", f"/v2/nemesis/r{repository}/manifests/{digest_of(body)}", body,
                                                   {"Content-Type": OCI_MANIFEST})
                if status == 201:
                    with self.lock:
                        self.pools[repository].append(digest_of(body))
                else:
                    self.stopping.wait(0.05)
            except UNREACHABLE:
                self.stopping.wait(0.05)
        connections.close()

    def _run(self, number):
        rng = random.Random(f"{self.seed}/{number}")
        connections, known = Connections(self.timeout), {}
        while not self.stopping.is_set():
            repository = rng.randrange(REPOSITORIES)
            with self.lock:
                self.done[repository] += 1
                key = self.key(repository)
            node = self.nodes[number // 2] if number < 2 * len(self.nodes) else rng.choice(self.nodes)
            dice = rng.random()
            if dice < 0.45:
                self.read(connections, number, node, key, known, by_registry=rng.random() < 0.5)
            elif dice < 0.70:
                self.write(connections, number, node, key, known, None, by_registry=rng.random() < 0.5)
            elif dice < 0.86:
                self.write(connections, number, node, key, known, known.get(key, 0), by_registry=rng.random() < 0.5)
            elif dice < 0.89:
                self.remove(connections, number, node, key, known)
            elif dice < 0.95:
                self.add_name(connections, node, repository)
            else:
                self.list(connections, node, repository)
            if self.pause:
                self.stopping.wait(self.pause)
        connections.close()

    def _request(self, operation, connections, node, port, method, target, body=None, headers=None):
        """The answer, or None after having recorded that there was none."""
        operation["invoke"], operation["return"], operation["node"] = now(), None, node.name
        try:
            return connections.request(node, port, method, target, body, headers)
        except ConnectionRefusedError:
            operation["return"], operation["result"] = now(), "refused"
            self.history.add(operation, "failed", "connection refused")
            with self.lock:  # an outage must not use a key up: what is read after it is what was written before
                self.done[repository_of(operation["key"])] -= 1
            self.stopping.wait(0.02)
        except UNREACHABLE as error:
            self.history.add(operation, "unknown", type(error).__name__)
            self.stopping.wait(0.02)
        return None

    def _refused(self, operation, status, body):
        """Records an answer that is no success: refused, or (a write) open."""
        if status in REFUSED or operation["op"] == "get":
            operation["return"], operation["result"] = now(), "refused"
            self.history.add(operation, "failed", str(status))
        else:
            self.history.add(operation, "unknown", str(status))
        if status not in (*REFUSED, 500, 502, 504):
            self.history.anomaly(f"{operation['op']} {operation['key']} at {operation['node']}: {status} {body[:200]!r}")
        self.stopping.wait(0.02)

    def read(self, connections, client, node, key, known, by_registry):
        """True if it was answered."""
        repository, tag = key.split(":")
        operation = {"client": client, "key": key, "op": "get"}
        if by_registry:
            answer = self._request(operation, connections, node, 15000, "HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ACCEPT})
        else:
            answer = self._request(operation, connections, node, 15004, "GET", f"/tags/{key.replace('/', '%2F')}")
        if answer is None:
            return False
        status, headers, body = answer
        if status not in (200, 404):
            self._refused(operation, status, body)
            return False
        operation["return"], operation["result"], operation["seen"] = now(), "ok", None
        if status == 200:
            operation["seen"] = headers.get("Docker-Content-Digest") if by_registry else body.decode()
            operation["revision"] = revision_of(headers)
        known[key] = operation.get("revision", 0)
        self.history.add(operation, "ok", None)
        return True

    def write(self, connections, client, node, key, known, expect, by_registry):
        """expect: None, or the revision it must stand at, 0: absent."""
        repository, tag = key.split(":")
        with self.lock:
            pool = self.pools[repository_of(key)]
            digest = pool.pop() if pool and not by_registry else None
        condition = {} if expect is None else {"If-None-Match": "*"} if expect == 0 else {"If-Match": f'"{expect}"'}
        operation = {"client": client, "key": key, "op": "put", "expect": expect}
        if digest is not None:
            operation["value"] = digest
            answer = self._request(operation, connections, node, 15004, "PUT", f"/tags/{key.replace('/', '%2F')}/digest/{digest}", b"", condition)
        else:
            body = self._manifest()
            operation["value"] = digest_of(body)
            answer = self._request(operation, connections, node, 15000, "PUT", f"/v2/{repository}/manifests/{tag}", body,
                                   {"Content-Type": OCI_MANIFEST, **condition})
        if answer is None:
            return
        status, headers, body = answer
        if status in (200, 201):
            operation["result"] = "ok"
        elif status in (409, 412) and expect is not None:
            operation["result"] = "conflict"
            if digest is not None:
                operation["seen"] = body.decode() or None
            else:
                operation["seen"] = (json.loads(body)["errors"][0].get("detail") or {}).get("digest")
        else:
            self._refused(operation, status, body)
            return
        operation["return"], operation["revision"] = now(), revision_of(headers)
        known[key] = operation["revision"]
        self.history.add(operation, "ok", None)

    def remove(self, connections, client, node, key, known):
        operation = {"client": client, "key": key, "op": "delete", "expect": None}
        answer = self._request(operation, connections, node, 15004, "DELETE", f"/tags/{key.replace('/', '%2F')}")
        if answer is None:
            return
        status, _, body = answer
        if status == 404:  # it met no tag, as a read would
            operation.update({"op": "get", "seen": None})
        elif status != 202:
            self._refused(operation, status, body)
            return
        operation["return"], operation["result"] = now(), "ok"
        known[key] = 0
        self.history.add(operation, "ok", None)

    def add_name(self, connections, node, repository):
        """A tag that is never removed, in a repository of such tags."""
        where = f"nemesis/list{repository}-{self.phase}"
        with self.lock:
            self.numbers += 1
            name = f"t{self.numbers}"
        if len(self.history.adds.get(where, ())) >= 400:  # a list is one page
            return
        invoked = now()
        self.history.add_name(where, name, invoked, None)
        try:
            status, _, body = connections.request(node, 15000, "PUT", f"/v2/{where}/manifests/{name}", self._manifest(), {"Content-Type": OCI_MANIFEST})
        except UNREACHABLE as error:
            self.history.count(where, "unknown", 0, True, type(error).__name__)
            return
        if status == 201:
            self.history.add_name(where, name, invoked, now())
            self.history.count(where, "ok", now(), True)
        else:
            self.history.count(where, "failed" if status in REFUSED else "unknown", 0, True, str(status))
            if status not in (*REFUSED, 500, 502, 504):
                self.history.anomaly(f"add {where}:{name} at {node.name}: {status} {body[:200]!r}")

    def list(self, connections, node, repository):
        where = f"nemesis/list{repository}-{self.phase}"
        invoked = now()
        try:
            status, _, body = connections.request(node, 15000, "GET", f"/v2/{where}/tags/list")
        except UNREACHABLE as error:
            self.history.count(where, "unknown", 0, False, type(error).__name__)
            return False
        if status not in (200, 404):
            self.history.count(where, "failed", 0, False, str(status))
            return False
        names = set(json.loads(body)["tags"] or ()) if status == 200 else set()
        returned = now()
        with self.history.lock:
            self.history.lists.append((where, invoked, returned, names, node.name))
        self.history.count(where, "ok", returned, False)
        return True

    def read_everything(self, seconds):
        """Each key and list on each node, until it answers: the acknowledged writes are all present. What never answered."""
        connections, silent = Connections(10), []
        until = now() + int(seconds * SLACK * 1e9)
        wanted = [(node, f"{key}", lambda node=node, key=key: self.read(connections, 900 + node.index, node, key, {}, by_registry=False))
                  for node in self.nodes for key in self.keys()]
        wanted += [(node, f"list {repository}", lambda node=node, repository=repository: self.list(connections, node, repository))
                   for node in self.nodes for repository in range(REPOSITORIES)]
        for node, what, ask in wanted:
            while (late := now() > until) or not ask():
                if late:
                    silent.append(f"{what} on {node.name}")
                    break
        connections.close()
        return silent


class BlobClients(Clients):
    """Threads that push blobs to random nodes and read acknowledged ones from others."""

    what = "blob client"

    def __init__(self, nodes, history, phase, seed, threads=2, timeout=10):
        self.nodes, self.history, self.phase, self.seed, self.timeout = nodes, history, phase, seed, timeout
        self.stopping, self.lock = threading.Event(), threading.Lock()
        self.blobs = []  # (digest, content), acknowledged
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]

    def _run(self, number):
        rng = random.Random(f"{self.seed}/blob{number}")
        connections, count = Connections(self.timeout), 0
        while not self.stopping.is_set():
            node = rng.choice(self.nodes)
            try:
                if self.blobs and rng.random() < 0.5:
                    self.pull(connections, node, rng.choice(self.blobs))
                else:
                    count += 1
                    self.push(connections, node, random_bytes(rng.choice((0, 1, 1000, 60_000, 300_000)) + rng.randrange(1000),
                                                              f"{self.seed}/{self.phase}/{number}/{count}"))
            except UNREACHABLE as error:
                self.history.count("blobs", "unknown", 0, False, f"blob {type(error).__name__}")
                self.stopping.wait(0.02)
        connections.close()

    def _failed(self, status, body, what):
        self.history.count("blobs", "failed", 0, False, f"blob {status}")
        if status not in (*REFUSED, 404, 416, 500, 502, 504):  # 404, 416: the upload's node was restarted
            self.history.anomaly(f"{what}: {status} {body[:200]!r}")
        self.stopping.wait(0.02)

    def push(self, connections, node, content):
        status, headers, body = connections.request(node, 15000, "POST", "/v2/nemesis/blobs/blobs/uploads/", b"")
        if status != 202:
            return self._failed(status, body, f"upload at {node.name}")
        location = headers["Location"].replace(f"http://{node.host}:15000", "")
        digest = digest_of(content)
        status, _, body = connections.request(node, 15000, "PUT", location + ("&" if "?" in location else "?") + "digest=" + digest, content,
                                              {"Content-Type": "application/octet-stream"})
        if status != 201:
            return self._failed(status, body, f"push at {node.name}")
        with self.lock:
            self.blobs.append((digest, content))
        self.history.count("blobs", "ok", now(), True)
        return None

    def pull(self, connections, node, blob):
        """True if it was answered; what was acknowledged is never not found, and never other bytes."""
        digest, content = blob
        status, _, body = connections.request(node, 15000, "GET", f"/v2/nemesis/blobs/blobs/{digest}")
        if status == 200 and body == content:
            self.history.count("blobs", "ok", now(), False)
            return True
        if status in (200, 404):
            self.history.anomaly(f"acknowledged blob {digest} at {node.name}: {status}, {len(body)} of {len(content)} bytes")
        else:
            self._failed(status, body, f"pull at {node.name}")
        return False

    def read_everything(self, seconds):
        connections, silent = Connections(30), []
        until = now() + int(seconds * SLACK * 1e9)
        for i, blob in enumerate(self.blobs):
            node = self.nodes[i % len(self.nodes)]
            while True:
                if now() > until:
                    silent.append(f"blob {blob[0]} on {node.name}")
                    break
                try:
                    if self.pull(connections, node, blob):
                        break
                except UNREACHABLE:
                    pass
        connections.close()
        return silent
