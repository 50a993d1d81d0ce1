"""The faults. Each is injected, lasts for a while and is healed, in turn or together with another.

A fault gets `world`: cluster (kraken_cluster.Cluster with shims), network, rng, pause_max (seconds), kill/start/leader helpers
(run.py). inject() returns what it did, in words; heal() leaves every process of its running, or starting, and every link open.
"""
import math
import os
import time

import network
from kraken_cluster import SLACK, wait_for

YEAR = 365 * 86400


class Fault:
    hold = (1.0, 5.0)     # seconds that it lasts
    group = "plain"       # which cluster it needs: plain, or power (everything written is recorded, which is slow)
    no_quorum = False     # while it lasts, nothing may succeed

    def __init__(self, world):
        self.world, self.rng = world, world.rng

    def duration(self):
        return self.rng.uniform(*self.hold)

    def inject(self):
        raise NotImplementedError

    def heal(self):
        raise NotImplementedError


class Kill(Fault):
    """kill -9."""
    hold = (0.2, 3.0)
    what = "one"

    def victims(self):
        nodes = self.world.cluster.nodes
        if self.what == "all":
            return list(nodes)
        if self.what == "majority":
            return self.rng.sample(nodes, len(nodes) // 2 + 1)
        return [self.world.leader() if self.what == "leader" else self.rng.choice(nodes)]

    def inject(self):
        self.killed = self.victims()
        self.world.kill(self.killed)
        return "killed " + ", ".join(node.name for node in self.killed)

    def heal(self):
        for node in self.killed:
            self.world.start(node)


class KillLeader(Kill):
    what = "leader"


class KillMajority(Kill):
    what, no_quorum = "majority", True


class KillAll(Kill):
    what, no_quorum = "all", True


class Power(Kill):
    """kill -9, and what was not synced is forgotten."""
    group = "power"

    def victims(self):
        return list(self.world.cluster.nodes) if self.rng.random() < 0.5 else super().victims()

    def heal(self):
        for node in self.killed:
            if node.process is None:
                self.world.forgotten += self.world.cluster.forget_unsynced(node)
        super().heal()


class Stop(Fault):
    """SIGTERM, as an upgrade does."""
    hold = (0.2, 2.0)

    def inject(self):
        self.node = self.rng.choice(self.world.cluster.nodes)
        code = self.world.stop(self.node)
        return f"stopped {self.node.name}, which ended with {code}"

    def heal(self):
        self.world.start(self.node)


class Pause(Fault):
    """SIGSTOP, from 1 ms to 30 s, by the logarithm."""
    what = "one"

    def duration(self):
        self.seconds = math.exp(self.rng.uniform(math.log(0.001), math.log(self.world.pause_max)))
        return self.seconds

    def inject(self):
        nodes = self.world.cluster.nodes
        self.paused = list(nodes) if self.what == "all" else [self.world.leader() if self.what == "leader" else self.rng.choice(nodes)]
        self.paused = [node for node in self.paused if node.alive()]
        for node in self.paused:
            node.pause()
        return f"paused {', '.join(node.name for node in self.paused)} for {self.seconds:.3f} s"

    def heal(self):
        for node in self.paused:
            if node.process is not None:
                node.resume()


class PauseLeader(Pause):
    what = "leader"


class PauseAll(Pause):
    what = "all"


class Partition(Fault):
    """By the shape's name; packets vanish (hold) or connections are reset (refuse)."""
    shapes = ("isolate", "halves", "bridge", "blind", "mute", "ring", "pair")

    def inject(self):
        shape = self.rng.choice(self.shapes)
        nodes = len(self.world.cluster.nodes)
        chosen = self.world.leader().index if self.rng.random() < 0.6 else self.rng.randrange(nodes)
        who = f"node{chosen}"
        if shape == "halves":
            links, left = network.halves(nodes, self.rng)
            who = f"nodes {sorted(left)} from the others"
        elif shape == "bridge":
            links, middle = network.bridge(nodes, self.rng)
            who = f"all but node{middle}"
        elif shape == "ring":
            links, who = network.ring(nodes, self.rng), ""
        elif shape == "pair":
            other = self.rng.choice([i for i in range(nodes) if i != chosen])
            links, who = [(chosen, other)], f"node{chosen} to node{other}"
        else:
            links = getattr(network, shape)(nodes, chosen)
        mode = self.rng.choice(("hold", "hold", "refuse"))
        self.world.network.set(links, mode)
        return f"partition {shape} {who} ({mode})"

    def heal(self):
        self.world.network.heal()


class Isolate(Partition):
    shapes = ("isolate",)


class Halves(Partition):
    shapes = ("halves",)


class Bridge(Partition):
    shapes = ("bridge",)


class OneWay(Partition):
    shapes = ("blind", "mute", "pair")


class Ring(Partition):
    shapes = ("ring",)


class SlowLinks(Fault):
    """Some links, or all, are slow."""

    def inject(self):
        links = [link for link in self.world.network.links() if self.rng.random() < 0.5] or self.world.network.links()
        delay = self.rng.choice((5, 20, 80, 300))
        self.world.network.set(links, f"delay {delay}")
        return f"{len(links)} links are {delay} ms slow"

    def heal(self):
        self.world.network.heal()


class CorruptLinks(Fault):
    """Bits flip between the nodes: frames have checksums."""

    def inject(self):
        links = [link for link in self.world.network.links() if self.rng.random() < 0.5] or self.world.network.links()
        one_in = self.rng.choice((5, 50, 500))
        self.world.network.set(links, f"corrupt {one_in}")
        return f"one in {one_in} reads of {len(links)} links has a bit flipped"

    def heal(self):
        self.world.network.heal()


class SlowSync(Fault):
    """Each sync of one node, or of all, takes longer."""

    def inject(self):
        nodes = self.world.cluster.nodes
        self.nodes = list(nodes) if self.rng.random() < 0.3 else [self.world.leader()]
        delay = self.rng.choice((20, 100, 400, 1000))
        for node in self.nodes:
            self.world.disk_fault(node, f"sync-slow */metadata/* {delay}")
        return f"syncs of {', '.join(node.name for node in self.nodes)} take {delay} ms longer"

    def heal(self):
        for node in self.nodes:
            self.world.disk_fault(node, "")


class FailSync(Fault):
    """A sync of the log fails: the process must end, and never try again (consensus.md §2.5)."""
    hold = (0.2, 2.0)
    line = "sync-fail */metadata/*.log 1 once"

    def inject(self):
        self.node = self.world.leader()
        self.world.expect_end(self.node)
        self.world.disk_fault(self.node, self.line)
        return f"{self.line} on {self.node.name}"

    def heal(self):
        # The log is synced whenever something is written, and clients write: soon, unless there is no quorum.
        until = time.monotonic() + 20 * SLACK
        while self.node.alive() and time.monotonic() < until and not self.world.fault_fired(self.node):
            time.sleep(0.02)
        if self.world.fault_fired(self.node):
            wait_for(lambda: not self.node.alive(), 20, f"{self.node.name} ends after a failed sync")
        self.world.disk_fault(self.node, "")
        self.world.start_again(self.node)


class FullDisk(Fault):
    """One disk, or all, look full: writes are refused with 507 before the log's reserve is touched, reads go on."""

    def inject(self):
        nodes = self.world.cluster.nodes
        self.nodes = list(nodes) if self.rng.random() < 0.3 else [self.rng.choice(nodes)]
        for node in self.nodes:
            self.world.control(node, full=1)
        return f"disks of {', '.join(node.name for node in self.nodes)} are full"

    def heal(self):
        for node in self.nodes:
            self.world.control(node, full=0)


class NoSpace(Fault):
    """Writes of the metadata fail with ENOSPC, the first one half way: the process may end; nothing acknowledged is lost."""

    def inject(self):
        self.node = self.rng.choice(self.world.cluster.nodes)
        self.world.expect_end(self.node)
        self.world.disk_fault(self.node, f"write-full */metadata/* {self.rng.randrange(20_000)}")
        return f"writes of {self.node.name} meet no space"

    def heal(self):
        self.world.disk_fault(self.node, "")
        self.world.start_again(self.node)


class Flip(Fault):
    """A bit flips on a disk while its node is down: the node names the file and does not start, or never reads the place, or
    rejoins. The bit is put right again with the node down, so that no two disks are ever damaged at once."""
    hold = (1.0, 4.0)

    def inject(self):
        self.node = self.rng.choice(self.world.cluster.nodes)
        self.world.kill([self.node])
        folder = os.path.join(self.node.folder, "metadata")
        files = [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names
                 if name.endswith((".log", ".sst")) or name.startswith("MANIFEST")]
        files = [path for path in sorted(files) if os.path.getsize(path) > 0]
        self.path = self.rng.choice(files)
        self.at = self.rng.randrange(os.path.getsize(self.path))
        self.bit = 1 << self.rng.randrange(8)
        self._flip()
        self.world.start(self.node)
        self.world.expect_end(self.node)
        return f"bit {self.bit} of byte {self.at} of {self.node.name}'s {os.path.relpath(self.path, folder)} (of {os.path.getsize(self.path)}) flipped"

    def _flip(self):
        with open(self.path, "r+b") as file:
            file.seek(self.at)
            byte = file.read(1)
            if byte:
                file.seek(self.at)
                file.write(bytes([byte[0] ^ self.bit]))

    def heal(self):
        if not self.node.alive():
            # 6: at start; 70: while it ran, when it came to the place.
            name, code = os.path.basename(self.path), self.node.process.returncode
            tail = self.node.log_text()[-4000:]
            if name not in tail or code not in (6, 70):
                self.world.fail(f"{self.node.name} ended with {code}, wanted 6 or 70 and the name of {name}, which has a flipped bit: {tail[-600:]}")
            self.world.say(f"{self.node.name} ended with {code}, and named {name}")
        self.world.kill([self.node])
        if os.path.exists(self.path):
            self._flip()
        self.world.start_again(self.node)


class Clock(Fault):
    """The wall clock of one node, or of all, jumps by up to a year either way, and back."""

    def inject(self):
        nodes = self.world.cluster.nodes
        self.nodes = list(nodes) if self.rng.random() < 0.4 else [self.rng.choice(nodes)]
        seconds = self.rng.choice((-YEAR, YEAR, -3600, 3600, -30, 30))
        for node in self.nodes:
            self.world.control(node, clock=seconds)
        return f"the wall clocks of {', '.join(node.name for node in self.nodes)} jump by {seconds} s"

    def heal(self):
        for node in self.nodes:
            self.world.control(node, clock=0)


class Nothing(Fault):
    """No fault: what the cluster does when it is left alone."""

    def inject(self):
        return "nothing"

    def heal(self):
        pass


KINDS = {
    "none": Nothing, "kill": Kill, "kill_leader": KillLeader, "kill_majority": KillMajority, "kill_all": KillAll, "stop": Stop,
    "pause": Pause, "pause_leader": PauseLeader, "pause_all": PauseAll,
    "partition": Partition, "isolate": Isolate, "halves": Halves, "bridge": Bridge, "one_way": OneWay, "ring": Ring,
    "slow_links": SlowLinks, "corrupt_links": CorruptLinks,
    "slow_sync": SlowSync, "fail_sync": FailSync, "full_disk": FullDisk, "no_space": NoSpace, "flip": Flip,
    "clock": Clock, "power": Power,
}
