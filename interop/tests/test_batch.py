"""Batches: results in order up to the first exception."""

import Pyro5.api
import Pyro5.errors
import pytest
import wire
from Pyro5.api import BatchProxy


# By marshal, Pyro5's client fails by itself: it has None for keyword arguments.
pytestmark = pytest.mark.not_by("marshal")


def invoke(proxy, calls, flags=0):
    return proxy._pyroInvokeBatch(calls, bool(flags & wire.ONEWAY))


def test_results_in_order(server, serializer):
    with server.proxy("calc", serializer) as proxy:
        batch = BatchProxy(proxy)
        for i in range(100):
            batch.add(i, 1)
        batch.greet("you", punctuation="?")
        batch.nothing()
        assert list(batch()) == [*range(1, 101), "hello you?", None]
        assert list(batch()) == [], "the batch was not cleared"


def test_an_empty_batch(server, serializer):
    with server.proxy("calc", serializer) as proxy:
        assert list(BatchProxy(proxy)()) == []


def test_it_stops_at_the_first_exception(server, serializer):
    with server.proxy("recorder", serializer) as proxy:
        proxy.clear()
        batch = BatchProxy(proxy)
        batch.plain("a")
        batch.wait_for("not a number")
        batch.plain("b")
        results = batch()
        assert next(results) == "a"
        with pytest.raises(TypeError) as caught:
            next(results)
        assert caught.value._pyroTraceback[0] == "Traceback (most recent call last):\n"
        assert proxy.wait_for(1) == ["a"]


def test_an_exception_keeps_class_and_arguments(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        batch = BatchProxy(proxy)
        batch.arguments()
        results = batch()
        with pytest.raises(KeyError) as caught:
            next(results)
        assert caught.value.args == ("a", 2, None, [1.5])


@pytest.mark.parametrize(
    "name, text",
    [
        ("missing", "'Recorder' object has no attribute 'missing'"),
        ("_private", "attempt to access private attribute '_private'"),
        ("__getattr__", "attempt to access private attribute '__getattr__'"),
    ],
)
def test_an_unknown_name_fails_the_whole_batch(server, serializer, name, text):
    with server.proxy("recorder", serializer) as proxy:
        proxy.clear()
        with pytest.raises(AttributeError) as caught:
            invoke(proxy, [("plain", ("a",), {}), (name, (), {}), ("plain", ("b",), {})])
        assert str(caught.value) == text
        assert proxy.wait_for(1) == ["a"], "what came before it has run, what came after has not"


def test_a_security_error_inside_a_batch_keeps_the_connection(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        batch = BatchProxy(proxy)
        batch.pyro("SecurityError", "no")
        with pytest.raises(Pyro5.errors.SecurityError):
            next(batch())
        with pytest.raises(ValueError):
            proxy.no_arguments()
        assert proxy._pyroConnection is connection


def test_a_oneway_batch_runs_in_order(server, serializer):
    with server.proxy("recorder", serializer) as proxy:
        proxy.clear()
        batch = BatchProxy(proxy)
        for i in range(50):
            batch.plain(i)
        assert batch(oneway=True) is None
        assert proxy.wait_for(50) == list(range(50))


def test_the_reply_is_marked_as_a_batch(server):
    with wire.Raw(server.address) as raw:
        raw.handshake("calc")
        calls = [("add", (1, 2), {}), ("add", (3, 4), {})]
        payload = wire.serpent(repr(("calc", "<batch>", calls, None)))
        raw.send(wire.message(wire.INVOKE, payload, seq=3, flags=wire.BATCH))
        reply = raw.reply()
        assert reply.kind == wire.RESULT and reply.seq == 3
        assert reply.flags & ~wire.CORRELATION == wire.BATCH
        assert reply.value == [3, 7]


def test_a_large_batch(server, serializer):
    with server.proxy("values", serializer) as proxy:
        batch = BatchProxy(proxy)
        for i in range(5000):
            batch.echo(i)
        assert list(batch()) == list(range(5000))


def test_a_batch_on_a_session_instance(server, serializer):
    with server.proxy("session", serializer) as proxy:
        batch = BatchProxy(proxy)
        for _ in range(3):
            batch.calls()
        assert list(batch()) == [1, 2, 3]
        assert proxy.calls() == 4
