"""A stock Pyro5 client that calls for a while: small calls, batches of them, or bytes to be echoed.

Prints the median, the 99th percentile and the calls a second, measured inside this process.
"""

import argparse
import json
from threading import Barrier, Thread
from time import perf_counter_ns

import Pyro5.api

parser = argparse.ArgumentParser()
parser.add_argument("--address", required=True)
parser.add_argument("--serializer", required=True)
parser.add_argument("--milliseconds", type=int, required=True)
parser.add_argument("--connections", type=int, required=True)
parser.add_argument("--batch", type=int, required=True, help="calls in a message; 0 for none")
parser.add_argument("--echo", type=int, required=True, help="bytes; 0 for small calls")
options = parser.parse_args()

Pyro5.api.config.SERIALIZER = options.serializer
duration = options.milliseconds * 1_000_000
data = b"Z" * options.echo


def add(proxy):
    assert proxy.add(20, 22) == 42


def echo(proxy):
    assert len(proxy.echo(data)) == len(data)


def add_in_a_batch(proxy):
    batch = Pyro5.api.BatchProxy(proxy)
    for _ in range(options.batch):
        batch.add(20, 22)
    assert list(batch()) == [42] * options.batch


def repeat(call, proxy, duration):
    nanoseconds = []
    now = perf_counter_ns()
    end = now + duration
    while now < end:
        call(proxy)
        before, now = now, perf_counter_ns()
        nanoseconds.append(now - before)
    return nanoseconds


def connection(index):
    # A proxy belongs to the thread that made it.
    with Pyro5.api.Proxy(options.address) as proxy:
        repeat(call, proxy, duration // 5)
        everybody.wait()
        began = perf_counter_ns()
        measured[index] = (repeat(call, proxy, duration), began, perf_counter_ns())


call = add_in_a_batch if options.batch else echo if options.echo else add
measured = [None] * options.connections
everybody = Barrier(options.connections)
others = [Thread(target=connection, args=(index,)) for index in range(1, options.connections)]
for other in others:
    other.start()
connection(0)
for other in others:
    other.join()

elapsed = max(end for _, _, end in measured) - min(began for _, began, _ in measured)
nanoseconds = sorted(sample for samples, _, _ in measured for sample in samples)
print(
    json.dumps(
        {
            "p50_us": nanoseconds[len(nanoseconds) // 2] / 1e3,
            "p99_us": nanoseconds[len(nanoseconds) * 99 // 100] / 1e3,
            "calls_per_second": len(nanoseconds) * (options.batch or 1) * 1e9 / elapsed,
        }
    )
)
