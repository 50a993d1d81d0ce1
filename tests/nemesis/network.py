"""What the nodes say to each other passes chaos_proxy; here are its links and the shapes of partitions."""
import subprocess
import threading

PORTS = ("14001", "14002", "15000", "15001", "15002", "15003", "15004", "5000", "5003")  # the first is the nodes' own, with checksums


class Network:
    def __init__(self, program, prefix, nodes):
        self.nodes, self.lock = nodes, threading.Lock()
        self.process = subprocess.Popen([program, prefix, str(nodes), *PORTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        assert line == b"ok\n", f"the proxy said {line!r} and ended with {self.process.poll()}"

    def links(self):
        return [(i, j) for i in range(self.nodes) for j in range(self.nodes) if i != j]

    def set(self, links, mode):
        """mode: open, hold, refuse, "delay 50", "corrupt 20"; in force on return."""
        with self.lock:
            for i, j in links:
                self.process.stdin.write(f"{i} {j} {mode}\n".encode())
            self.process.stdin.flush()
            for _ in links:
                self._answer()

    def heal(self):
        self.set(self.links(), "open")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def isolate(nodes, chosen):
    """Nobody and `chosen` reach each other."""
    return [(i, j) for i in range(nodes) for j in range(nodes) if i != j and chosen in (i, j)]


def halves(nodes, rng):
    """Two sides, as even as can be."""
    left = set(rng.sample(range(nodes), nodes // 2))
    return [(i, j) for i in range(nodes) for j in range(nodes) if i != j and (i in left) != (j in left)], left


def bridge(nodes, rng):
    """Two sides that only one node, the bridge, reaches both of."""
    order = rng.sample(range(nodes), nodes)
    middle, left = order[0], set(order[1:1 + (nodes - 1) // 2])
    cut = [(i, j) for i in range(nodes) for j in range(nodes) if i != j and middle not in (i, j) and (i in left) != (j in left)]
    return cut, middle


def blind(nodes, chosen):
    """`chosen` hears nobody; everybody hears it."""
    return [(i, chosen) for i in range(nodes) if i != chosen]


def mute(nodes, chosen):
    """Nobody hears `chosen`; it hears everybody."""
    return [(chosen, i) for i in range(nodes) if i != chosen]


def ring(nodes, rng):
    """Each hears its neighbours only: with five nodes every majority is another one, with three it goes one way round."""
    order = rng.sample(range(nodes), nodes)
    place = {node: at for at, node in enumerate(order)}
    near = (1, nodes - 1) if nodes > 3 else (1,)
    return [(i, j) for i in range(nodes) for j in range(nodes) if i != j and (place[j] - place[i]) % nodes not in near]
