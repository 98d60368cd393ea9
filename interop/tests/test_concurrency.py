"""What the aliasing rule promises to callers: watchers answer during long work, and a stuck object
is its own problem only."""

import threading
import time

import Pyro5.errors
import pytest
import wire
from harness import in_threads, until

# A shared machine stops a process for a while now and then; what these tests are about would take
# as long as the object is busy, which is until the test ends.
STALL = 2.0


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def test_progress_and_abort_answer_during_a_long_scan(server, serializer, record_property):
    """`scan(&self)` runs for as long as nobody aborts it; a stock client watches and ends it."""
    results = []

    def scan():
        with server.proxy("scanner", serializer) as proxy:
            results.append(proxy.scan())

    worker = threading.Thread(target=scan, daemon=True)
    worker.start()
    with server.proxy("scanner", serializer) as proxy:
        assert proxy.started() is True
        times = []
        seen = []
        for _ in range(500):
            begun = time.perf_counter()
            seen.append(proxy.progress())
            times.append(time.perf_counter() - begun)
        assert not results, "the scan ended by itself"
        until(lambda: proxy.progress() > seen[0], what="the scan advances")
        proxy.abort()
    worker.join(10)
    assert len(results) == 1 and results[0] >= seen[-1]
    assert seen == sorted(seen)
    p50, p99 = percentile(times, 0.5) * 1000, percentile(times, 0.99) * 1000
    record_property("progress_p99_ms", round(p99, 3))
    print(f"\n{server.kind} {serializer}: {len(times)} answers, p50 {p50:.3f} ms, p99 {p99:.3f} ms")
    assert p50 < 5
    assert max(times) < STALL


@pytest.fixture(params=["antifreeze", "antifreeze-threads"])
def crowded(request, start):
    """Our server, with each driver, and a pool of four workers."""
    return start(request.param, env={"ANTIFREEZE_WORKERS": "4"})


def test_callers_queued_on_one_object_delay_no_other_object(crowded):
    """200 callers wait for one `&mut self` object; the pool has 4 workers."""
    callers = 200
    with crowded.proxy("gatekeeper") as keeper, crowded.proxy("values") as other:
        keeper.set_open(False)
        done = []
        started = threading.Barrier(callers + 1)

        def enter(_):
            with crowded.proxy("gate", "msgpack", timeout=50) as proxy:
                proxy._pyroBind()
                started.wait(30)
                done.append(proxy.enter())

        threads = [threading.Thread(target=enter, args=(i,), daemon=True) for i in range(callers)]
        for thread in threads:
            thread.start()
        started.wait(30)
        assert keeper.wait_inside() is True
        times = []
        for i in range(200):
            begun = time.perf_counter()
            assert other.echo(i) == i
            times.append(time.perf_counter() - begun)
        # A newcomer, and metadata of the very object that is stuck.
        begun = time.perf_counter()
        with crowded.proxy("gate") as newcomer:
            newcomer._pyroBind()
        newcomer_took = time.perf_counter() - begun
        assert not done
        keeper.set_open(True)
        for thread in threads:
            thread.join(50)
        assert done == ["done"] * callers
    print(f"\n{len(times)} answers, p99 {percentile(times, 0.99) * 1000:.3f} ms, worst {max(times) * 1000:.3f} ms")
    assert percentile(times, 0.5) < 0.050
    assert max(times) < STALL
    assert newcomer_took < STALL


@pytest.mark.against("antifreeze", "pyro5-multiplex")  # Pyro5's pool of threads has 80
def test_idle_connections_occupy_no_worker(server):
    proxies = []
    try:
        for _ in range(300):
            proxy = server.proxy("values")
            proxy._pyroBind()
            proxies.append(proxy)
        for proxy in proxies:
            assert proxy.echo("x") == "x"
    finally:
        for proxy in proxies:
            proxy._pyroRelease()


def test_readers_run_together(server):
    """Two calls that wait for each other can only end if both run."""
    with server.proxy("recorder") as proxy:
        proxy.clear()

    def wait(index):
        with server.proxy("recorder") as proxy:
            if index == 4:
                return proxy.plain("go")
            return proxy.wait_for(1)

    assert in_threads(5, wait) == [["go"]] * 4 + ["go"]


@pytest.mark.against("antifreeze")
def test_a_writer_runs_alone(server):
    """`Gate::enter` takes `&mut self`: never are two inside."""
    with server.proxy("gatekeeper") as keeper:
        keeper.set_open(False)
        done = []

        def enter():
            with server.proxy("gate") as proxy:
                done.append(proxy.enter())

        threads = [threading.Thread(target=enter, daemon=True) for _ in range(5)]
        for thread in threads:
            thread.start()
        assert keeper.wait_inside() is True
        for _ in range(50):
            assert keeper.inside() == 1
        keeper.set_open(True)
        for thread in threads:
            thread.join(10)
        assert done == ["done"] * 5 and keeper.most_inside() == 1


def test_silent_connections_occupy_nobody(crowded):
    """100 peers that say nothing, and 100 that stop in the middle of a message."""
    silent = [wire.Raw(crowded.address) for _ in range(100)]
    halting = [wire.Raw(crowded.address).handshake() for _ in range(100)]
    try:
        for raw in halting:
            raw.send(wire.invoke("values", "echo", ["x"])[:60])
        times = []
        for _ in range(20):
            begun = time.perf_counter()
            with crowded.proxy("values") as proxy:
                assert proxy.echo(1) == 1
            times.append(time.perf_counter() - begun)
        assert percentile(times, 0.5) < 0.050
        assert max(times) < STALL
    finally:
        for raw in silent + halting:
            raw.socket.close()


def test_connections_beyond_the_limit_are_refused_with_a_reason(start):
    server = start("antifreeze", env={"ANTIFREEZE_CONNECTIONS": "3"})
    proxies = [server.proxy("values") for _ in range(4)]
    try:
        for proxy in proxies[:3]:
            proxy._pyroBind()
        for _ in range(3):
            with pytest.raises(Pyro5.errors.CommunicationError, match="rejected: "):
                proxies[3]._pyroBind()
        assert [proxy.echo(1) for proxy in proxies[:3]] == [1] * 3
        proxies[0]._pyroRelease()

        def served():
            try:
                return proxies[3].echo(2) == 2
            except Pyro5.errors.CommunicationError:
                return False

        until(served, what="the place of one that has left is free")
    finally:
        for proxy in proxies:
            proxy._pyroRelease()


def test_a_queue_that_is_full_is_an_error_at_once(start):
    """One caller inside, two waiting, and no room for more: a builtin TimeoutError or the like,
    never a communication error."""
    server = start("antifreeze", env={"ANTIFREEZE_QUEUED_PER_OBJECT": "2"})
    with server.proxy("gatekeeper") as keeper:
        keeper.set_open(False)
        results = []

        def enter():
            with server.proxy("gate") as proxy:
                try:
                    results.append(proxy.enter())
                except Exception as error:
                    results.append(error)

        threads = [threading.Thread(target=enter, daemon=True) for _ in range(6)]
        for thread in threads:
            thread.start()
        until(lambda: len(results) == 3, what="three are turned away")
        assert all(not isinstance(error, Pyro5.errors.CommunicationError) for error in results)
        assert all("busy" in str(error) for error in results), results
        keeper.set_open(True)
        for thread in threads:
            thread.join(10)
        assert results[3:] == ["done"] * 3


def test_waiting_for_a_busy_object_ends_in_time(start):
    server = start("antifreeze", env={"ANTIFREEZE_QUEUE_TIMEOUT": "0.3"})
    with server.proxy("gatekeeper") as keeper, server.proxy("gate") as waiting:
        keeper.set_open(False)
        done = []

        def enter():
            with server.proxy("gate") as proxy:
                done.append(proxy.enter())

        inside = threading.Thread(target=enter, daemon=True)
        inside.start()
        assert keeper.wait_inside() is True
        waiting._pyroBind()
        connection = waiting._pyroConnection
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match="busy"):
            waiting.enter()
        assert 0.25 < time.monotonic() - begun < 3
        keeper.set_open(True)
        inside.join(10)
        assert done == ["done"]
        assert waiting.enter() == "done" and waiting._pyroConnection is connection
