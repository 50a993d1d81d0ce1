#!/usr/bin/env python3
"""Disks that fail, stall, fill up or lie, below real processes (consensus §2.5): test_disk_faults.py KRAKEN --shim libdisk_faults.so"""
import contextlib
import glob
import os
import re
import subprocess
import sys
import time

from kraken_cluster import SLACK, UNREACHABLE, Cluster, run_tests, wait_for
from workload import Writers

RESERVE = 48 << 20


def fault_environment(node, shim):
    node.environment = {"LD_PRELOAD": os.path.abspath(shim), "FAULT_CONTROL": node.folder + ".faults", "FAULT_LOG": node.folder + ".fired"}


def switch(node, *faults):
    """A running process sees them at its next write or sync."""
    with open(node.folder + ".faults.new", "w", encoding="utf-8") as file:
        file.write("".join(fault + "\n" for fault in faults))
    os.rename(node.folder + ".faults.new", node.folder + ".faults")


def fired(node):
    with contextlib.suppress(FileNotFoundError), open(node.folder + ".fired", encoding="utf-8") as file:
        return file.read()
    return ""


def repair(cluster, *words):
    done = subprocess.run([cluster.kraken, "repair", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = done.stdout.splitlines()
    if len(lines) > 10:
        lines[5:-5] = [f"... {len(lines) - 10} more lines"]
    print(f"  $ kraken repair {' '.join(words)}\n" + "".join(f"    {line}\n" for line in lines), end="", flush=True)
    return done


def log_since(node, at):
    return node.log_text()[at:]


def start_refused(node):
    """Starts the node, which must end by itself; returns its code and what it said."""
    at = len(node.log_text())
    node.start()
    code = node.wait_exit(60)
    return code, log_since(node, at)


def grow(writers, blobs, seconds=120):
    before = writers.acknowledged()[0]
    wait_for(lambda: writers.acknowledged()[0] >= before + blobs, seconds, f"{blobs} more blobs acknowledged")


def test_a_failed_sync_ends_the_process_and_nothing_acknowledged_is_lost(kraken, shim):
    for pattern, what in (("*/metadata/*.log", r"\d+\.log"), ("*/metadata/MANIFEST-*", r"MANIFEST-\d+")):
        with Cluster(kraken, nodes=3, max_replica=2) as cluster:
            node = cluster.nodes[1]
            fault_environment(node, shim)
            cluster.start()
            writers = Writers(cluster).start()
            grow(writers, 10)
            if "MANIFEST" in pattern:
                # MANIFEST is written when tables are: a restart writes the log's content out.
                node.stop()
                switch(node, f"sync-fail {pattern} 1 once")
                node.start()
            else:
                switch(node, f"sync-fail {pattern} 1 once")
            code = node.wait_exit(60)
            last = node.log_text().splitlines()[-1]
            print(f"  exit code {code}: {last}", flush=True)
            assert "sync-fail" in fired(node), "the shim did not fire"
            assert code == 70, code
            assert re.search(what, last) and "Input/output error" in last, last
            grow(writers, 5)
            switch(node)
            node.start()
            cluster.wait_ready([node])
            grow(writers, 5)
            writers.stop()
            writers.check(cluster.nodes)
            print(f"  {writers.acknowledged()} blobs and tags acknowledged, all there", flush=True)


def test_the_third_failed_sync_in_a_row_keeps_the_node_down_until_told(kraken, shim):
    with Cluster(kraken, nodes=1) as cluster:
        node = cluster.nodes[0]
        fault_environment(node, shim)
        cluster.start()
        digest = node.push_taggable("library/x", b"content")
        assert node.put_tag("library/x:v1", digest).status == 200
        for _ in range(3):
            switch(node, "sync-fail */metadata/*.log 1 once")
            with contextlib.suppress(*UNREACHABLE):
                node.put_tag("library/x:v2", digest, timeout=10)
            assert node.wait_exit(60) == 70
            switch(node)
            if _ < 2:
                node.start()
                cluster.wait_ready()
        code, said = start_refused(node)
        print("  " + said.strip().replace("\n", "\n  "), flush=True)
        assert code == 1 and "stays down" in said and "Input/output error" in said and "kraken repair --start-again --data" in said, (code, said)
        assert repair(cluster, "--start-again", "--data", node.folder + "/metadata").returncode == 0
        node.start()
        cluster.wait_ready()
        assert node.get_tag("library/x:v1").status == 200


def test_a_disk_that_stalls_hands_leadership_off_and_writes_go_on(kraken, shim):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        node, others = cluster.nodes[0], cluster.nodes[1:]
        fault_environment(node, shim)
        cluster.start()
        digest = others[0].push_taggable("library/x", b"content")
        label = f"origin{node.index}"
        # Leaderships settle where the ring has them, three seconds after the nodes have met.
        wait_for(lambda: sum(leader == label for leader in cluster.leaders().values()) > 20, 60, f"{label} leads its share")
        led = sum(leader == label for leader in others[0].status() and cluster.leaders().values())
        switch(node, "sync-slow */metadata/*.log 2500")
        stalled = time.monotonic()
        longest, put = 0.0, 0

        def leads():
            return sum(shard["leader"] == label for shard in others[0].status()["shards"])

        while leads() > 0 or put < 20:
            begun = time.monotonic()
            answer = others[put % 2].put_tag(f"library/x:t{put}", digest, timeout=30)
            if answer.status == 200:
                longest = max(longest, time.monotonic() - begun)
                put += 1
            assert time.monotonic() < stalled + 60 * SLACK, f"{label} still leads {leads()} shards; the last answer was {answer}"
        print(f"  {label} led {led} shards, and none {time.monotonic() - stalled:.1f} s after its syncs took 2.5 s; {put} tags were put through the "
              f"others meanwhile, the slowest in {longest:.1f} s", flush=True)
        assert "sync-slow" in fired(node), "the shim did not fire"
        switch(node)
        wait_for(lambda: leads() > 20, 60, f"{label} leads again")
        for number in range(put):
            assert node.get_tag(f"library/x:t{number}").body.decode() == digest


@contextlib.contextmanager
def small_disk(folder, size):
    """A tmpfs of its own at `folder`; yields False where this process may not mount."""
    os.makedirs(folder, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "kraken-test", folder], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"  skipped: no file system can be mounted here: {done.stderr.strip()}", flush=True)
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def available(folder):
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def fill(folder, leave):
    """A file that leaves so many bytes free."""
    with open(folder + "/filler", "ab") as file:
        while (more := available(folder) - leave) > 0:
            file.write(b"\0" * min(more, 1 << 20))
            file.flush()


def free(folder):
    os.unlink(folder + "/filler")


def set_reserve(cluster, node):
    with open(node.config, encoding="utf-8") as file:
        text = file.read()
    with open(node.config, "w", encoding="utf-8") as file:
        file.write(text.replace("metadata\n  reserve: 64MB", f"metadata\n  reserve: {RESERVE >> 20}MB\n  ballast: 4MB", 1))


def status_of_put(node, tag, digest):
    return node.put_tag(tag, digest, timeout=20).status


def test_a_full_disk_refuses_writes_with_507_keeps_reads_and_recovers(kraken):
    with Cluster(kraken, nodes=1) as cluster:
        node = cluster.nodes[0]
        set_reserve(cluster, node)
        metadata = node.folder + "/metadata"
        with small_disk(metadata, "256m") as mounted:
            if not mounted:
                return
            cluster.start()
            digest = node.push_taggable("library/x", b"content")
            assert status_of_put(node, "library/x:v1", digest) == 200
            wait_for(lambda: os.path.exists(metadata + "/BALLAST"), 30, "the ballast is laid down")
            for left, what in ((RESERVE * 3 // 4, "below the reserve"), (RESERVE // 4 + (2 << 20), "below half of it"), (0, "to the last byte")):
                fill(metadata, left)
                begun = time.monotonic()
                wait_for(lambda: status_of_put(node, "library/x:full", digest) == 507, 30, "writes are refused with 507")
                print(f"  filled {what}: 507 after {time.monotonic() - begun:.1f} s, {available(metadata) >> 10} KB free, "
                      f"ballast {'there' if os.path.exists(metadata + '/BALLAST') else 'given up'}", flush=True)
                if left < RESERVE // 2:
                    wait_for(lambda: not os.path.exists(metadata + "/BALLAST"), 30, "the ballast is given up")
                    fill(metadata, left)
                assert node.get_tag("library/x:v1").body.decode() == digest
                assert node.pull_manifest("library/x", digest).status == 200
                for _ in range(20):
                    assert status_of_put(node, "library/x:full", digest) == 507
                assert node.alive()
            assert not os.path.exists(metadata + "/BALLAST")
            free(metadata)
            begun = time.monotonic()
            wait_for(lambda: status_of_put(node, "library/x:v2", digest) == 200, 30, "writes are taken again")
            print(f"  freed: writes are taken again after {time.monotonic() - begun:.1f} s", flush=True)
            wait_for(lambda: os.path.exists(metadata + "/BALLAST"), 30, "the ballast is laid down again")
            node.stop()
            # A full disk does not keep a node from starting.
            fill(metadata, 1 << 20)
            node.start()
            cluster.wait_ready()
            assert node.get_tag("library/x:v2").body.decode() == digest
            wait_for(lambda: status_of_put(node, "library/x:full", digest) == 507, 30, "writes are refused with 507")
            free(metadata)
            wait_for(lambda: status_of_put(node, "library/x:v3", digest) == 200, 30, "writes are taken again")
            node.kill()


def test_one_full_disk_of_three_hands_leadership_off_and_writes_go_on(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        node, other = cluster.nodes[0], cluster.nodes[1]
        set_reserve(cluster, node)
        metadata = node.folder + "/metadata"
        label = f"origin{node.index}"
        with small_disk(metadata, "256m") as mounted:
            if not mounted:
                return
            cluster.start()
            digest = other.push_taggable("library/x", b"content")

            def leads():
                return sum(shard["leader"] == label for shard in other.status()["shards"])

            wait_for(lambda: leads() > 20, 60, f"{label} leads its share")
            fill(metadata, RESERVE * 3 // 4)
            wait_for(lambda: leads() == 0, 60, f"{label} leads nothing")
            for number in range(30):
                assert cluster.nodes[number % 3].put_tag(f"library/x:t{number}", digest, timeout=20).status == 200
            time.sleep(5)  # longer than it takes until leaderships go back to where the ring has them
            assert leads() == 0, "a full node was made a leader again"
            for number in range(30):
                assert node.get_tag(f"library/x:t{number}").body.decode() == digest
            free(metadata)
            wait_for(lambda: leads() > 20, 60, f"{label} leads again")
            for running in cluster.nodes:
                running.kill()


def incarnation(node):
    return re.findall(r"raft.start label=\S+ incarnation=([0-9a-f]+)", node.log_text())[-1]


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def damage(folder, what):
    """(file, offset) of a byte in the middle of what the node cannot do without."""
    if what == "WAL":
        path = max(glob.glob(folder + "/*.log"), key=os.path.getsize)
        return path, os.path.getsize(path) // 2
    if what == "SST":
        path = max(glob.glob(folder + "/*.sst"), key=os.path.getsize)
        return path, os.path.getsize(path) // 2
    with open(folder + "/CURRENT", encoding="utf-8") as file:
        return os.path.join(folder, file.read().strip()), 20


def test_a_flipped_bit_is_named_by_file_and_set_aside(kraken):
    with Cluster(kraken, nodes=3, max_replica=2) as cluster:
        cluster.start()
        node = cluster.nodes[1]
        folder = node.folder + "/metadata"
        writers = Writers(cluster).start()
        grow(writers, 15)
        node.kill()
        node.start()  # what its log held goes into tables
        cluster.wait_ready([node])
        grow(writers, 15)
        node.kill()
        writers.stop()
        old = incarnation(node)
        for what in ("WAL", "SST", "MANIFEST"):
            path, at = damage(folder, what)
            flip(path, at)
            code, said = start_refused(node)
            print(f"  {what}: exit code {code}: {said.strip().splitlines()[-1]}", flush=True)
            assert code == 6, (code, said)
            assert os.path.basename(path) in said and f"kraken repair --set-aside --data {folder}" in said, said
            flip(path, at)
        running = cluster.nodes[0]
        refused = repair(cluster, "--set-aside", "--data", running.folder + "/metadata")
        assert refused.returncode == 1 and "in use by process" in refused.stdout, refused
        done = repair(cluster, "--set-aside", "--data", folder)
        assert done.returncode == 0 and not os.path.exists(folder) and len(glob.glob(folder + ".set-aside-*/CURRENT")) == 1, done
        # Empty, it is a stranger: refused until somebody says that it takes its label's place.
        node.start()
        wait_for(lambda: "kraken repair replace" in node.log_text(), 60, "it is told what to do")
        assert not node.is_ready()
        wait_for(lambda: repair(cluster, "replace", "origin1", "--host", running.host).returncode == 0, 60, "it is taken")
        cluster.wait_ready([node], seconds=180)
        assert incarnation(node) != old, "a new folder has a new incarnation"
        writers.check(cluster.nodes)
        writers = Writers(cluster).start()
        grow(writers, 10)
        writers.stop()
        # The old folder, put back, is not let in any more.
        node.kill()
        os.rename(folder, folder + ".new")
        os.rename(glob.glob(folder + ".set-aside-*")[0], folder)
        at = len(node.log_text())
        node.start()
        wait_for(lambda: f"(incarnation {old})" in log_since(node, at), 60, "the old folder is refused")
        assert not node.is_ready()


def test_two_of_three_disks_lost_for_good(kraken):
    with Cluster(kraken, nodes=3) as cluster:
        cluster.start()
        lost, survivor = cluster.nodes[:2], cluster.nodes[2]
        digest = survivor.push_taggable("library/x", b"content")
        for number in range(20):
            assert survivor.put_tag(f"library/x:t{number}", digest).status == 200
        recover = ("--offline", "recover", "--config", survivor.config, "--data", survivor.folder + "/metadata")
        running = repair(cluster, *recover)
        assert running.returncode == 1 and "in use by process" in running.stdout, running
        survivor.kill()
        there = repair(cluster, *recover, "--yes-lose-data")
        assert there.returncode == 1 and "That is a majority" in there.stdout, there
        for node in lost:
            node.kill()
        subprocess.run(["cp", "-a", lost[0].folder + "/metadata", cluster.folder + "/comes-back"], check=True)
        for node in lost:
            subprocess.run(["rm", "-rf", node.folder + "/metadata"], check=True)
        said = repair(cluster, *recover, "--dry-run")
        assert said.returncode == 0 and "missing origin0, origin1" in said.stdout and "Nothing was written" in said.stdout, said
        survivor.start()
        time.sleep(2)
        assert not survivor.is_ready(), "a dry run has written"
        survivor.kill()
        done = repair(cluster, *recover, "--yes-lose-data")
        assert done.returncode == 0 and "recovery epoch 1" in done.stdout, done
        survivor.start()
        cluster.wait_ready([survivor])
        for number in range(20):
            assert survivor.get_tag(f"library/x:t{number}").body.decode() == digest
        # One of the lost comes back with what it had.
        os.rename(cluster.folder + "/comes-back", lost[0].folder + "/metadata")
        lost[0].start()
        wait_for(lambda: "kraken repair --set-aside" in lost[0].log_text() and "recovery epoch" in lost[0].log_text(), 30, "it is told what to do")
        assert not lost[0].is_ready()
        assert survivor.get_tag("library/x:t7").body.decode() == digest
        # It, and the other, are taken in again with empty folders.
        lost[0].kill()
        assert repair(cluster, "--set-aside", "--data", lost[0].folder + "/metadata").returncode == 0
        for node in lost:
            node.start()
            label = f"origin{node.index}"
            wait_for(lambda: repair(cluster, "replace", label, "--host", survivor.host).returncode == 0, 60, f"{label} is taken")  # noqa: B023
        cluster.wait_ready(seconds=180)
        # They belong to what came after the recovery now, also when they start again.
        lost[0].kill()
        lost[0].start()
        cluster.wait_ready([lost[0]])
        assert survivor.put_tag("library/x:after", digest).status == 200
        for node in cluster.nodes:
            for tag in ("t0", "t19", "after"):
                answer = node.get_tag(f"library/x:{tag}")
                assert answer.status == 200 and answer.body.decode() == digest, (node.name, tag, answer.status, answer.body)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
