"""What freezes Pyro5's own servers: peers that say nothing, or half of something, or too slowly.
Stock clients call meanwhile, and must not notice. `FULL_TESTS=1` runs it at its whole size."""

import contextlib
import itertools
import multiprocessing
import os
import threading
import time

import Pyro5.api
import Pyro5.errors
import pytest
import wire

FULL = "FULL_TESTS" in os.environ
# What nothing takes on a quiet machine; this one may be busy.
BUSY = 0.1


@pytest.fixture(params=["antifreeze", "antifreeze-threads"])
def small(request, start):
    """Our server, with each driver, and a pool of four workers."""
    return start(request.param, env={"ANTIFREEZE_WORKERS": "4"})


def percentile(times, share):
    return sorted(times)[int((len(times) - 1) * share)]


def call_often(server, calls):
    """Calls, every tenth over a connection of its own; how long each took."""
    times = []
    proxy = server.proxy("calc")
    for number in range(calls):
        begun = time.perf_counter()
        if number % 10 == 9:
            proxy._pyroRelease()
            proxy = server.proxy("calc")
        assert proxy.add(number, 1) == number + 1
        times.append(time.perf_counter() - begun)
    proxy._pyroRelease()
    return times


def drip(drips):
    """Sends a byte to each of them a hundred times a second, without end."""
    for byte in itertools.chain(wire.connect(size=1 << 20), itertools.repeat(ord(" "))):
        for raw in drips:
            with contextlib.suppress(OSError):  # the server has had enough of it
                raw.socket.send(bytes([byte]))
        time.sleep(0.01)


def test_silent_and_slow_peers_delay_no_stock_client(small, record_property):
    silent, halting, dripping, calls = (1000, 100, 50, 2000) if FULL else (200, 40, 20, 500)
    quiet = percentile(call_often(small, calls), 0.99)
    peers = [wire.Raw(small.address) for _ in range(silent + halting)]
    for peer in peers[:halting]:
        peer.send(wire.connect()[:20])
    drips = [wire.Raw(small.address) for _ in range(dripping)]
    # In a process of its own: in this one it would keep the client from running.
    dripper = multiprocessing.get_context("fork").Process(target=drip, args=(drips,), daemon=True)
    dripper.start()
    try:
        loud = percentile(call_often(small, calls), 0.99)
        assert dripper.is_alive()
    finally:
        dripper.kill()
        dripper.join()
        for raw in peers + drips:
            raw.socket.close()
    record_property("p99_ms", (round(quiet * 1000, 3), round(loud * 1000, 3)))
    print(f"\n{small.kind}: p99 {quiet * 1000:.3f} ms quiet, {loud * 1000:.3f} ms with them")
    assert loud < (5 * quiet if FULL else max(5 * quiet, BUSY))


def test_a_pool_full_of_sleeping_methods_leaves_the_daemon_awake(small):
    sleepers = []

    def sleep():
        with small.proxy("scanner") as proxy, contextlib.suppress(Pyro5.errors.ConnectionClosedError):
            sleepers.append(proxy.scan())

    threads = [threading.Thread(target=sleep, daemon=True) for _ in range(4)]
    uri = Pyro5.api.URI(small.uri("scanner"))
    place = uri.location
    with Pyro5.api.Proxy(f"PYRO:Pyro.Daemon@{place}") as daemon:
        daemon._pyroTimeout = 30
        for thread in threads:
            thread.start()
        with small.proxy("scanner") as scanner:
            # Its own methods need a worker, too, so nobody can ask whether all are inside.
            time.sleep(0.3)
            times = []
            for call in (daemon.ping, lambda: daemon.get_metadata("values"), scanner._pyroBind) * 20:
                begun = time.perf_counter()
                call()
                times.append(time.perf_counter() - begun)
                scanner._pyroRelease()
            assert not sleepers
            print(f"\n{small.kind}: p50 {percentile(times, 0.5) * 1000:.3f} ms, worst {max(times) * 1000:.3f} ms")
            assert percentile(times, 0.5) < 0.050
            assert max(times) < 2
