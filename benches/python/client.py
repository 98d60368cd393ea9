"""A stock Pyro5 client that calls one method in a loop.

Prints how long each call took, in nanoseconds, measured inside this process.
With `--count` it takes no times, so that nothing but the calls is counted from outside.
"""

import argparse
import json
from array import array
from time import perf_counter_ns

import Pyro5.api

parser = argparse.ArgumentParser()
parser.add_argument("--address", required=True)
parser.add_argument("--serializer", required=True)
parser.add_argument("--warm-up", type=int, required=True)
parser.add_argument("--calls", type=int, required=True)
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


with Pyro5.api.Proxy(options.address) as proxy:
    for _ in range(options.warm_up):
        proxy.add(20, 22)
    measured = count(proxy) if options.count else time(proxy)

print(json.dumps({"nanoseconds": measured, "allocations": None}))
