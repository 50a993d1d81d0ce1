"""What clients did, as tests/history reads it, and the checks that need no search."""
import json
import subprocess
import threading
import time


class History:
    """Operations on tags, by key (tests/history/record.h), and on growing sets: tags that were added to a repository and never
    removed, and the lists that were read. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.operations = []
        self.adds = {}    # repository -> {name: [invoked, returned or None]}
        self.lists = []   # (repository, invoked, returned, names, node)
        self.anomalies = []
        self.counts = {"ok": 0, "failed": 0, "unknown": 0}
        self.last_ok = {}   # key -> when
        self.pauses = {}    # key -> the longest time without success
        self.writes_ok = 0
        self.rejected = {}  # status or error -> how often
        self.frozen = False  # counts no more: the final reads are no load

    def anomaly(self, text):
        with self.lock:
            if len(self.anomalies) < 50:
                self.anomalies.append(text)

    def _count(self, key, outcome, returned, write):
        if self.frozen:
            return
        self.counts[outcome] += 1
        if outcome == "ok":
            last = self.last_ok.get(key)
            if last is not None:
                self.pauses[key] = max(self.pauses.get(key, 0), returned - last)
            self.last_ok[key] = returned
            self.writes_ok += write

    def add(self, operation, outcome, why):
        """outcome: ok (conflicts too), failed (nothing happened), unknown."""
        with self.lock:
            self._count(operation["key"], outcome, operation["return"] or 0, operation["op"] != "get")
            if why is not None:
                self.rejected[why] = self.rejected.get(why, 0) + 1
            if operation["op"] != "get" or outcome == "ok":
                self.operations.append(operation)

    def add_name(self, repository, name, invoked, returned):
        with self.lock:
            self.adds.setdefault(repository, {})[name] = [invoked, returned]

    def count(self, key, outcome, returned, write, why=None):
        with self.lock:
            self._count(key, outcome, returned, write)
            if why is not None:
                self.rejected[why] = self.rejected.get(why, 0) + 1

    def longest_pause(self):
        return max(self.pauses.values(), default=0) / 1e9

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            for operation in self.operations:
                file.write(json.dumps(operation) + "\n")

    def check_lists(self):
        """Each list has every name whose addition was acknowledged before it began, and none whose addition began after it
        ended; and of two lists one after the other the later one has all of the earlier one."""
        found = []
        for repository in self.adds:
            adds = self.adds[repository]
            lists = sorted((entry for entry in self.lists if entry[0] == repository), key=lambda entry: entry[2])
            for _, invoked, returned, names, node in lists:
                missing = [name for name, (_, acknowledged) in adds.items() if acknowledged is not None and acknowledged < invoked and name not in names]
                early = [name for name in names if name not in adds or adds[name][0] > returned]
                if missing:
                    found.append(f"list of {repository} at {node}: {len(missing)} acknowledged names are missing, such as {missing[:3]}")
                if early:
                    found.append(f"list of {repository} at {node}: names that nobody had added: {early[:3]}")
            seen, position = set(), 0  # the names of all lists that had returned
            for _, invoked, returned, names, node in sorted(lists, key=lambda entry: entry[1]):
                while position < len(lists) and lists[position][2] < invoked:
                    seen |= lists[position][3]
                    position += 1
                if not seen <= names:
                    found.append(f"list of {repository} at {node}: names are gone that an earlier list had: {sorted(seen - names)[:3]}")
        return found


def check(history_check, path, seconds=60):
    """(verdict, text) of the search: ok, ILLEGAL, UNKNOWN."""
    done = subprocess.run([history_check, path, "--seconds", str(seconds)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode()
    return {0: "ok", 1: "ILLEGAL"}.get(done.returncode, "UNKNOWN"), text


def now():
    return time.monotonic_ns()
