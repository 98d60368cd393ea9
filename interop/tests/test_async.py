"""Async methods, cooperative objects and work after the reply: stock clients notice nothing but that
it works."""

import threading

import Pyro5.api
import pytest
from harness import in_threads


@pytest.fixture
def ferry(server, serializer):
    with server.proxy("ferry", serializer) as proxy:
        proxy.empty()
        yield proxy


def test_async_readers_await_together(server, serializer, ferry):
    """Each of them can only end if all of them run."""

    def cross(_):
        with server.proxy("ferry", serializer) as proxy:
            return proxy.cross(8)

    assert in_threads(8, cross) == [8] * 8


@pytest.mark.parametrize("kind", ["antifreeze", "antifreeze-threads"])
def test_async_methods_occupy_no_worker(start, kind):
    """Far more of them await something than there are workers, and others are served meanwhile."""
    callers = 60
    crowded = start(kind, env={"ANTIFREEZE_WORKERS": "1"})

    def cross(_):
        with crowded.proxy("ferry") as proxy:
            return proxy.cross(callers + 1)

    others = threading.Thread(target=in_threads, args=(callers, cross), daemon=True)
    others.start()
    with crowded.proxy("values") as values:
        assert values.echo("meanwhile") == "meanwhile"
    assert cross(None) == callers + 1
    others.join(20)
    assert not others.is_alive()


def test_an_async_writer_holds_its_object_while_it_awaits(server, serializer, ferry):
    def carry(_):
        with server.proxy("ferry", serializer) as proxy:
            return [proxy.carry(1) for _ in range(10)]

    sums = in_threads(4, carry)
    assert sorted(sum(sums, [])) == list(range(1, 41)), "one came in between"


def test_an_async_method_raises_and_is_called_again(ferry):
    connection = None
    for _ in range(2):
        with pytest.raises(ValueError, match="it leaks"):
            ferry.sink()
        connection = connection or ferry._pyroConnection
        assert ferry._pyroConnection is connection
    assert ferry.carry(weight=5) == 5


@pytest.mark.against("antifreeze")  # in Pyro5 every oneway call has a thread of its own
@pytest.mark.not_by("marshal")  # Pyro5's client cannot do it
def test_async_oneways_and_attributes_are_in_order(ferry):
    for entry in range(50):
        ferry.note(entry)
    assert ferry.log == list(range(50))


@pytest.mark.not_by("marshal")  # Pyro5's client cannot do it
def test_a_batch_of_async_calls_runs_in_order(ferry):
    batch = Pyro5.api.BatchProxy(ferry)
    for weight in (1, 2, 3):
        batch.carry(weight)
    assert list(batch()) == [1, 3, 6]


def test_a_call_of_an_async_method_carries_its_context_on(server, serializer, ferry, context):
    context.annotations = {"USER": b"ada"}
    assert ferry.forward(server.uri("context"))["annotations"]["USER"] == "ada"


def test_nothing_comes_between_the_awaits_of_a_cooperative_object(server, serializer):
    with server.proxy("desk", serializer) as desk:
        desk.close()

    def take(index):
        with server.proxy("desk", serializer) as desk:
            # One waits, on the one thread where all others are served meanwhile.
            return [desk.wait_for(100)] if index == 4 else [desk.next() for _ in range(25)]

    *numbers, seen = in_threads(5, take)
    assert sorted(sum(numbers, [])) == list(range(1, 101))
    assert seen == [100]


@Pyro5.api.expose
class Customer:
    """Served by one thread, which is also the one that orders."""

    def __init__(self):
        self.uri = None
        self.heard = []
        self.served = threading.Event()

    def go(self, clerk, method, serializer):
        with Pyro5.api.Proxy(clerk) as clerk:
            clerk._pyroSerializer = serializer
            clerk._pyroTimeout = 10
            self.heard.append(getattr(clerk, method)(self.uri, "tea"))

    def deliver(self, what):
        self.heard.append(what)
        self.served.set()


@pytest.mark.parametrize("method", ["order", "order_async"])
def test_work_after_the_reply_calls_a_caller_that_has_one_thread(
    server, serializer, method, monkeypatch
):
    monkeypatch.setattr(Pyro5.config, "SERVERTYPE", "multiplex")
    customer = Customer()
    with Pyro5.api.Daemon(host="localhost") as daemon:
        customer.uri = str(daemon.register(customer))
        loop = threading.Thread(target=daemon.requestLoop, daemon=True)
        loop.start()
        with Pyro5.api.Proxy(customer.uri) as proxy:
            proxy._pyroTimeout = 20
            proxy.go(server.uri("clerk"), method, serializer)
        assert customer.served.wait(10), "nothing was delivered"
        assert customer.heard == ["ordered", "tea"]
        daemon.shutdown()
        loop.join(10)
