"""Writers that remember what was acknowledged, and the check that it is all still there."""
import threading
import time

from kraken_cluster import UNREACHABLE, digest_of, image_manifest, random_bytes


class Writers:
    """Threads that push small blobs and put tags at the nodes in turn until stop(). A request that fails is tried at the next
    node; only what got its 200 or 201 counts as acknowledged. Tags are written in order by one thread each, so the last
    acknowledged value, or one that was tried after it, is what may be read."""

    def __init__(self, cluster, threads=3, blob_bytes=40_000):
        self.cluster, self.blob_bytes = cluster, blob_bytes
        self.blobs = {}          # digest -> content, acknowledged
        self.tags = {}           # tag -> [acknowledged digest, digests tried since]
        self.gaps = []           # (seconds without an acknowledged tag write, when), per thread the longest
        self.failures = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def _attempt(self, round_number, what):
        """what(node) at node after node until it says it is acknowledged; None when stopping."""
        tried = 0
        while not self.stopping.is_set():
            node = self.cluster.nodes[(round_number + tried) % len(self.cluster.nodes)]
            tried += 1
            try:
                if what(node):
                    return node
            except UNREACHABLE:
                pass
            except AssertionError as error:  # an answer that is no success: to be one of those that may be tried again
                if not any(code in str(error) for code in ("404", "500", "502", "503", "504")):
                    self.failures.append(str(error))
            time.sleep(0.02)
        return None

    def _run(self, number):
        last_acknowledged, longest = time.monotonic(), 0.0
        round_number = number
        while not self.stopping.is_set():
            content = random_bytes(self.blob_bytes, f"{number}/{round_number}")
            digest = digest_of(content)
            if self._attempt(round_number, lambda node: node.push_blob("load/x", content, timeout=20)) is None:
                break
            with self.lock:
                self.blobs[digest] = content
            if self._attempt(round_number, lambda node: node.push_taggable("load/x", content)) is None:
                break
            manifest = digest_of(image_manifest((digest, len(content)), []))
            tag = f"load/x:t{number}-{round_number % 20}"
            with self.lock:
                entry = self.tags.setdefault(tag, [None, []])
                entry[1].append(manifest)

            def put(node):
                answer = node.put_tag(tag, manifest, timeout=20)
                if answer.status in (400, 409, 412):
                    self.failures.append(f"put {tag}: {answer}")
                return answer.status == 200

            if self._attempt(round_number, put) is None:
                break
            with self.lock:
                entry[0], entry[1] = manifest, []
            now = time.monotonic()
            longest = max(longest, now - last_acknowledged)
            last_acknowledged = now
            round_number += 1
        with self.lock:
            self.gaps.append(longest)

    def acknowledged(self):
        with self.lock:
            return len(self.blobs), sum(entry[0] is not None for entry in self.tags.values())

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a writer hangs"
        assert not self.failures, self.failures[:3]
        return max(self.gaps)

    def check(self, nodes):
        """Every acknowledged blob and tag, on every one of these nodes."""
        for node in nodes:
            for tag, (acknowledged, tried) in self.tags.items():
                answer = node.get_tag(tag)
                value = answer.body.decode()
                if acknowledged is None:
                    assert answer.status == 404 or value in tried, (node.name, tag, answer)
                else:
                    assert answer.status == 200 and value in [acknowledged, *tried], (node.name, tag, answer, acknowledged)
        for i, (digest, content) in enumerate(self.blobs.items()):
            assert nodes[i % len(nodes)].pull_blob("load/x", digest) == content, digest
