#!/usr/bin/env python3
"""Checks who includes whom against the table of docs/architecture.md, and where libraries and impure calls may stand.

usage: include_rules.py [ROOT]
Exit code 1 and one line for each offence. `include_rules.py --self-test` proves that each kind of offence is found.
"""
import os
import re
import sys
import tempfile

# folder -> folders it may include, besides itself; edges are not transitive. GROUND may be used by all but PURE.
GROUND = ["src/base", "src/core", "config"]
EDGES = {
    "src/base": [],
    "src/core": ["src/base"],
    "src/ring": ["src/core", "src/base"],
    "config": ["src/ring", "src/core", "src/base"],
    "src/net": ["config", "src/base"],
    "http": ["src/net"] + GROUND,
    "consensus/raft": [],
    "storage/kv": GROUND,
    "storage/blob": GROUND,
    "storage/backend": ["http", "src/net"] + GROUND,
    "consensus/group": ["consensus/raft", "storage/kv", "src/net", "src/ring"] + GROUND,
    "src/metadata/state": ["src/base", "src/core", "storage/kv", "consensus/group/state_machine.h"],
    "src/metadata": ["src/metadata/state", "consensus/group", "storage/kv", "src/ring", "src/net"] + GROUND,
    "src/blobs": ["src/metadata", "src/metadata/state", "src/ring", "storage/blob", "storage/kv", "storage/backend", "http", "src/net"] + GROUND,
    "src/tasks": ["src/blobs", "src/metadata", "src/metadata/state", "storage/backend", "http", "src/net"] + GROUND,
    "src/p2p/swarm": ["src/base", "src/core"],
    "src/p2p": ["src/p2p/swarm", "storage/blob", "src/net"] + GROUND,
    "src/registry": ["http", "src/net"] + GROUND,
    "src/agent": ["src/registry", "src/p2p", "src/p2p/swarm", "storage/blob", "http", "src/net"] + GROUND,
    "src/admin": ["http", "src/net", "src/metadata", "src/metadata/state", "consensus/group", "storage/kv", "src/blobs", "src/tasks", "src/p2p"] + GROUND,
}
ROLE = ["src/blobs", "src/tasks", "src/registry", "src/metadata", "src/metadata/state", "src/ring", "src/p2p", "http", "src/net"] + GROUND
for role in ("src/proxy", "src/origin", "src/tracker", "src/build_index"):
    EDGES[role] = ROLE
ANYTHING = ("src/node", "tools", "tests", "bench")

# library header -> folders that may include it
LIBRARIES = [
    (re.compile(r"<boost/beast"), ("http",)),
    (re.compile(r"<boost/asio/ssl|<openssl/ssl"), ("src/net",)),
    (re.compile(r"<openssl/"), ("src/core", "src/net")),
    (re.compile(r"<rocksdb/"), ("storage/kv/rocksdb",)),
    (re.compile(r"<yaml-cpp/"), ("config",)),
    (re.compile(r"<murmurhash"), ("src/ring",)),
]
# Time, threads, chance, the environment and unordered iteration make a run that cannot be repeated.
PURE = ("src/core", "src/ring", "consensus/raft", "src/metadata/state", "src/p2p/swarm", "tests/sim")
# What of consensus/group runs in virtual time in the simulator.
PURE_FILES = tuple(f"consensus/group/{name}." for name in ("adoption", "apply_turn", "envelope", "frame", "log_store", "reconcile", "replica", "requests", "sessions", "state_digest", "system_state"))
IMPURE = re.compile(r"clock::now|\b(?:system|steady|high_resolution)_clock\b|random_device|mt19937|\brand\(|std::thread|std::jthread|std::async|this_thread|\bpthread_|\bgetenv\(|gettimeofday|clock_gettime|<boost/asio|std::unordered_|<unordered_|<sys/socket")

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<][^">]+[">])')
FOLDERS = sorted(list(EDGES) + list(ANYTHING), key=len, reverse=True)


def folder_of(path):
    for folder in FOLDERS:
        if path == folder or path.startswith(folder + "/"):
            return folder
    return None


def sources(root):
    for top in ("src", "consensus", "storage", "http", "config", "tools", "tests", "bench"):
        for base, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith((".h", ".cc")):
                    yield os.path.relpath(os.path.join(base, name), root)


def allowed(folder, target, path):
    if folder in ANYTHING or target == folder:
        return True
    return any(target == edge or path == edge for edge in EDGES[folder])


def check(root):
    offences = []
    includes = {}
    for path in sources(root):
        folder = folder_of(path)
        if folder is None:
            offences.append(f"{path}: its folder is not in the table of tests/lint/include_rules.py")
            continue
        with open(os.path.join(root, path), encoding="utf-8") as file:
            lines = file.readlines()
        if path.endswith(".h") and "#pragma once\n" not in lines:
            offences.append(f"{path}: a header needs #pragma once")
        for number, line in enumerate(lines, 1):
            code = line.split("//")[0]
            found = INCLUDE.match(line)
            if found:
                name = found.group(1)
                if name.startswith('"'):
                    target = folder_of(name.strip('"'))
                    includes.setdefault(path, []).append(name.strip('"'))
                    if target is None and not name.endswith('.pb.h"'):
                        offences.append(f'{path}:{number}: include from the repository root, {name} is not')
                    elif target is not None and not allowed(folder, target, name.strip('"')):
                        offences.append(f"{path}:{number}: {folder} may not include {target}")
                for pattern, places in LIBRARIES:
                    if pattern.search(name) and not path.startswith(tuple(p + "/" for p in places)) and folder not in ("tests", "bench"):
                        offences.append(f"{path}:{number}: {name} belongs in {' or '.join(places)} only")
                        break
            if path.startswith(tuple(p + "/" for p in PURE) + PURE_FILES) and IMPURE.search(code):
                offences.append(f"{path}:{number}: {IMPURE.search(code).group(0)} in a folder whose runs must be repeatable")
    offences += cycles(includes)
    return offences


def cycles(includes):
    state, offences = {}, []

    def visit(path, trail):
        state[path] = "open"
        for target in includes.get(path, []):
            if target.endswith("_impl.h"):  # the second half of a header of templates
                continue
            if state.get(target) == "open":
                offences.append("include cycle: " + " -> ".join(trail + [path, target]))
            elif target not in state:
                visit(target, trail + [path])
        state[path] = "done"

    for path in sorted(includes):
        if path not in state:
            visit(path, [])
    return offences


def self_test():
    cases = {
        "src/core/a.h": ('#pragma once\n#include "src/net/task.h"\n', "may not include"),
        "src/tracker/a.cc": ('#include "src/proxy/routes.h"\n', "may not include"),
        "src/proxy/a.cc": ("#include <boost/beast.hpp>\n", "belongs in"),
        "tools/a.cc": ("#include <rocksdb/db.h>\n", "belongs in"),
        "consensus/raft/a.cc": ("auto t = std::chrono::steady_clock::now();\n", "repeatable"),
        "src/metadata/state/a.cc": ("std::chrono::system_clock clock;\n", "repeatable"),
        "src/metadata/state/b.cc": ("for (auto& one : std::unordered_map<int, int>{}) use(one);\n", "repeatable"),
        "consensus/raft/b.cc": ("std::random_device device;\n", "repeatable"),
        "consensus/raft/c.cc": ("std::jthread thread;\n", "repeatable"),
        "consensus/group/sessions.cc": ("auto now = std::chrono::steady_clock::now();\n", "repeatable"),
        "http/a.h": ("int x;\n", "#pragma once"),
        "src/blobs/a.cc": ('#include "service.h"\n', "repository root"),
    }
    for path, (text, expected) in cases.items():
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, os.path.dirname(path)))
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
            found = check(root)
            assert any(expected in line for line in found), (path, found)
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(os.path.join(root, "http"))
        for name, other in (("a.h", "b.h"), ("b.h", "a.h")):
            with open(os.path.join(root, "http", name), "w", encoding="utf-8") as file:
                file.write(f'#pragma once\n#include "http/{other}"\n')
        assert any("cycle" in line for line in check(root))
    print("every kind of offence is found")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
    offences = check(os.path.abspath(root))
    for line in offences:
        print(line)
    print(f"{len(offences)} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
