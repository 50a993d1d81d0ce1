"""Runs many seeds of a simulator in parallel and remembers which are done. Called by scripts/soak; see there."""
import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time

CHUNK = 50


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True, help="folder with kraken_sim and raft_sim")
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--count", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--state")
    parser.add_argument("--restart", action="store_true", help="forget what was done")
    parser.add_argument("--core", action="store_true", help="the core alone")
    parser.add_argument("--mutants", action="store_true")
    return parser.parse_args()


class State:
    """Which chunks are done and what failed; written after each, so that a stopped soak goes on."""

    def __init__(self, path, restart):
        self.path = path
        self.done, self.failures = set(), []
        if os.path.exists(path) and not restart:
            with open(path, encoding="utf-8") as file:
                kept = json.load(file)
            self.done, self.failures = set(kept["done"]), kept["failures"]

    def save(self):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump({"done": sorted(self.done), "failures": self.failures}, file)
        os.replace(self.path + ".new", self.path)


def run_chunk(program, first, count):
    """The output of failing seeds, one string each. A seed that fails does not hide those behind it."""
    failures = []
    while count > 0:
        command = [program, "--from", str(first), "--count", str(count)] + (["--bare"] if program.endswith("kraken_sim") else [])
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode == 0:
            break
        seeds = [int(seed) for seed in re.findall(r"^seed (\d+): invariant broken", ran.stdout, re.M)]
        if not seeds or not first <= seeds[-1] < first + count:
            failures.append(f"seeds {first} to {first + count - 1}: the simulator ended with {ran.returncode}\n{ran.stdout}{ran.stderr}")
            break
        failures += [part for part in re.split(r"(?=^seed \d+: )", ran.stdout, flags=re.M) if "invariant broken" in part]
        count -= seeds[-1] + 1 - first
        first = seeds[-1] + 1
    return failures


def soak(options):
    program = os.path.join(options.programs, "raft_sim" if options.core else "kraken_sim")
    count = options.count or 10_000
    state = State(options.state or f"build/soak/{'core-' if options.core else ''}{options.first}-{count}.json", options.restart)
    chunks = {first: min(CHUNK, options.first + count - first) for first in range(options.first, options.first + count, CHUNK)}
    already = sum(chunks[first] for first in chunks if first in state.done)
    if already:
        print(f"{already} of {count} seeds were run before; {len(state.failures)} failures. --restart forgets them", flush=True)
    began, ran, told = time.monotonic(), 0, 0.0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        todo = iter([first for first in chunks if first not in state.done])
        running = {}

        def start():
            first = next(todo, None)
            if first is not None:
                running[pool.submit(run_chunk, program, first, chunks[first])] = first

        for _ in range(options.jobs):
            start()
        while running:
            finished, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in finished:
                first = running.pop(future)
                for failure in future.result():
                    print(failure, flush=True)
                    state.failures.append(failure)
                state.done.add(first)
                ran += chunks[first]
                state.save()
                start()
            now = time.monotonic()
            if now - told >= 10 or not running:
                told = now
                print(f"{already + ran} of {count} seeds, {ran / (now - began):.1f} a second, {len(state.failures)} failures", flush=True)
    for failure in state.failures:
        print(failure)
    print(f"{already + ran} seeds from {options.first}: {len(state.failures)} failures")
    return 1 if state.failures else 0


def mutants(options):
    """Those that runs of the core alone know are looked for there, where they are seen ten times as often; the others in runs of whole nodes."""
    whole, core = (os.path.join(options.programs, name) for name in ("kraken_sim", "raft_sim"))

    def listed(program):
        lines = subprocess.run([program, "--list-mutants"], capture_output=True, text=True, check=True).stdout.split("\n")
        return [line.split() for line in lines if line]

    names = listed(whole)
    of_the_core = {words[-1] for words in listed(core)}
    count = str(options.count or 2_000)

    def hunt(layer, name):
        if name in of_the_core:
            ran = subprocess.run([core, "--mutant", name, "--from", "1", "--count", count], capture_output=True, text=True)
            found = re.search(r"^seed (\d+): invariant broken: (.*)$", ran.stdout, re.M)
            what = f"found by seed {found.group(1):<5} {found.group(2)}" if found else f"NOT FOUND in {count} seeds"
            return f"mutant {layer:<6} {name:<26} {what}", bool(found)
        ran = subprocess.run([whole, "--mutants", "--only", name, "--count", count], capture_output=True, text=True)
        return ran.stdout.split("\n")[0], ran.returncode == 0

    missed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for line, found in pool.map(lambda one: hunt(*one), names):
            print(line, flush=True)
            missed += not found
    print(f"{len(names) - missed} of {len(names)} mutants found")
    return 1 if missed else 0


def main():
    options = arguments()
    return mutants(options) if options.mutants else soak(options)


if __name__ == "__main__":
    sys.exit(main())
