"""A stock Pyro5 client that calls one method in a loop.

Prints how long each call took, in nanoseconds, measured inside this process.
With `--count` it takes no times, so that nothing but the calls is counted from outside.
"""

import argparse
import json
from array import array
from threading import Barrier, Thread
from time import perf_counter_ns

import Pyro5.api

parser = argparse.ArgumentParser()
parser.add_argument("--address", required=True)
parser.add_argument("--serializer", required=True)
parser.add_argument("--warm-up", type=int, required=True)
parser.add_argument("--calls", type=int, required=True, help="on each connection")
parser.add_argument("--connections", type=int, required=True)
parser.add_argument("--count", action="store_true")
options = parser.parse_args()

Pyro5.api.config.SERIALIZER = options.serializer


def count(proxy):
    for _ in range(options.calls):
        result = proxy.add(20, 22)
    assert result == 42
    return []


def time(proxy):
    nanoseconds = array("q", bytes(8 * options.calls))
    for index in range(options.calls):
        began = perf_counter_ns()
        result = proxy.add(20, 22)
        nanoseconds[index] = perf_counter_ns() - began
    assert result == 42
    return nanoseconds.tolist()


def connection(index):
    # A proxy belongs to the thread that made it.
    with Pyro5.api.Proxy(options.address) as proxy:
        for _ in range(options.warm_up):
            proxy.add(20, 22)
        everybody.wait()
        began = perf_counter_ns()
        nanoseconds = count(proxy) if options.count else time(proxy)
        measured[index] = (nanoseconds, began, perf_counter_ns())


measured = [None] * options.connections
everybody = Barrier(options.connections)
others = [Thread(target=connection, args=(index,)) for index in range(1, options.connections)]
for other in others:
    other.start()
connection(0)
for other in others:
    other.join()

elapsed = max(end for _, _, end in measured) - min(began for _, began, _ in measured)
nanoseconds = [sample for samples, _, _ in measured for sample in samples]
print(json.dumps({"nanoseconds": nanoseconds, "seconds": elapsed / 1e9, "allocations": None}))
