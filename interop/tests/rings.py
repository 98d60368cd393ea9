"""Objects in processes of their own, ours and Pyro5's, of which rings are made."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import Pyro5.api
from harness import HERE, Process, binary
from test_deadlocks import check_deadlock

RUST = ("threads", "event_loop")
PYTHON = ("thread", "multiplex")
# Everybody has his object for so long before he calls the next one, so that all have begun.
HOLD = 150
# What is inferred needs a quarter of a second; the machine may be busy.
SOON = 15


class Node(Process):
    """The object `node`, served by one of the four; behind it may stand what it does otherwise."""

    def __init__(self, kind):
        kind, *flags = kind.split()
        self.ours = kind in RUST
        if self.ours:
            driver = ["--threads"] if kind == "threads" else []
            command = [binary("examples/ring"), *driver]
        else:
            command = [sys.executable, str(HERE / "node.py"), "--servertype", kind, *flags]
        super().__init__(command)
        self.uri = self.wait_line(lambda line: line.startswith("PYRO:"))[-1]
        self.place = self.uri.rpartition("@")[2]

    def detector(self):
        """Its counters."""
        with Pyro5.api.Proxy(f"PYRO:Antifreeze.Detector@{self.place}") as detector:
            lines = detector.metrics().splitlines()
        return {
            name.removeprefix("antifreeze_detector_").removesuffix("_total"): int(count)
            for name, count in (line.split() for line in lines if not line.startswith("#"))
        }


def call(method, path, hold=HOLD):
    """What became of a chain along this path, and how long it took."""
    begun = time.monotonic()
    with Pyro5.api.Proxy(path[0].uri) as first:
        first._pyroTimeout = 2 * SOON
        try:
            outcome = getattr(first, method)([node.uri for node in path[1:]], hold)
        except Exception as error:  # the test looks what it is
            outcome = error
    return outcome, time.monotonic() - begun


def call_all(method, paths, hold=HOLD):
    """The same for chains that begin together."""
    barrier = threading.Barrier(len(paths))

    def run(path):
        barrier.wait(SOON)
        return call(method, path, hold)

    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(run, paths))


def check_one_victim(outcomes, named, *words):
    """One of the chains is told, of everybody in the ring, and the others go on."""
    errors = [outcome for outcome, _ in outcomes if isinstance(outcome, Exception)]
    assert len(errors) == 1, outcomes
    told = check_deadlock(errors[0], *(node.place for node in named), *words)
    assert max(took for _, took in outcomes) < SOON, outcomes
    return told


def check_free(nodes):
    """Nobody is left in the way of anybody."""
    for node in nodes:
        outcome, took = call("hop", [node], 0)
        assert outcome == [node.uri] and took < SOON


def crossing(ring):
    """A chain from each to the next one."""
    return [[node, ring[(place + 1) % len(ring)]] for place, node in enumerate(ring)]
