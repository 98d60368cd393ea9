"""Correlation ids and annotations: what arrives, what is forwarded, what comes back."""

import itertools
import uuid

import pytest
import wire
from conftest import BOTH

ID = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def test_annotations_and_correlation_id_arrive(server, serializer, context):
    context.annotations = {"XYZZ": b"hello", "DATA": b"\x00\xff"}
    context.correlation_id = ID
    with server.proxy("context", serializer) as proxy:
        report = proxy.report()
    assert report["annotations"] == {"XYZZ": "hello", "DATA": "\x00\xff"}
    assert report["correlation_id"] == str(ID)
    assert report["has_address"] is True


def test_a_call_without_annotations_sees_none(server, serializer, context):
    with server.proxy("context", serializer) as proxy:
        context.annotations = {"XYZZ": b"first"}
        assert proxy.report()["annotations"] == {"XYZZ": "first"}
        context.annotations = {}
        assert proxy.report()["annotations"] == {}


def test_the_server_makes_a_correlation_id_for_each_call(server, serializer, context):
    with server.proxy("context", serializer) as proxy:
        ids = [proxy.report()["correlation_id"] for _ in range(3)]
    assert len(set(ids)) == 3 and all(uuid.UUID(i).int for i in ids)


def test_every_reply_carries_the_correlation_id(server):
    with wire.Raw(server.address) as raw:
        raw.send(wire.connect("context", flags=wire.CORRELATION, correlation=ID.bytes))
        reply = raw.reply()
        assert reply.flags & wire.CORRELATION and reply.correlation == ID.bytes
        raw.send(wire.invoke("context", "report"))
        reply = raw.reply()
        assert reply.flags & wire.CORRELATION
        assert reply.value["correlation_id"] == str(uuid.UUID(bytes=reply.correlation)) != str(ID)
        # Without the flag the field means nothing.
        raw.send(wire.invoke("context", "report", correlation=ID.bytes))
        assert raw.reply().value["correlation_id"] != str(ID)
        raw.send(wire.invoke("context", "report", flags=wire.CORRELATION, correlation=ID.bytes))
        reply = raw.reply()
        assert reply.correlation == ID.bytes and reply.value["correlation_id"] == str(ID)


def test_response_annotations(server, serializer, context):
    with server.proxy("context", serializer) as proxy:
        assert proxy.respond("ANNO", "some text") == "responded"
        assert bytes(context.response_annotations["ANNO"]) == b"some text"
        proxy.report()
        assert "ANNO" not in context.response_annotations


@pytest.mark.against("antifreeze")  # Pyro5 leaks them into the next reply
def test_response_annotations_of_a_failed_call_reach_nobody(server, serializer, context):
    with server.proxy("context", serializer) as proxy:
        with pytest.raises(ValueError):
            proxy.respond_and_fail("ANNO", "leak")
        assert "ANNO" not in context.response_annotations
        proxy.report()
        assert "ANNO" not in context.response_annotations


def test_a_call_made_while_serving_carries_both(server, start, serializer, context):
    """The forwarding hop is the server under test, the last one a stock Pyro5 server."""
    far = start("pyro5-thread")
    context.annotations = {"XYZZ": b"through", "USER": b"me"}
    context.correlation_id = ID
    with server.proxy("context", serializer) as proxy:
        for _ in range(2):
            near, distant = proxy.forward(far.uri("context"))
            assert near["correlation_id"] == distant["correlation_id"] == str(ID)
            assert near["annotations"] == distant["annotations"] == {"XYZZ": "through", "USER": "me"}


def test_a_correlation_id_made_by_the_first_server_is_forwarded(server, start, context):
    far = start("pyro5-thread")
    with server.proxy("context") as proxy:
        near, distant = proxy.forward(far.uri("context"))
        assert near["correlation_id"] == distant["correlation_id"] is not None
        near_again, _ = proxy.forward(far.uri("context"))
        assert near_again["correlation_id"] != near["correlation_id"]


@pytest.mark.parametrize("middle", ["pyro5-thread", "pyro5-multiplex"])
def test_they_pass_through_a_python_middle_hop(server, start, serializer, context, middle):
    """Client -> Python server -> server under test."""
    hop = start(middle)
    context.annotations = {"XYZZ": b"through"}
    context.correlation_id = ID
    with hop.proxy("context", serializer) as proxy:
        near, distant = proxy.forward(server.uri("context"))
    assert near["correlation_id"] == distant["correlation_id"] == str(ID)
    assert distant["annotations"] == {"XYZZ": "through"}


def test_server_python_server(server, start, serializer, context):
    """Client -> server under test -> Python server -> server under test."""
    middle = start("pyro5-thread")
    last = start(server.kind)
    context.annotations = {"XYZZ": b"all the way"}
    context.correlation_id = ID
    with server.proxy("context", serializer) as proxy:
        reports = proxy.forward_twice(middle.uri("context"), last.uri("context"))
    assert [report["correlation_id"] for report in reports] == [str(ID)] * 3
    assert [report["annotations"] for report in reports] == [{"XYZZ": "all the way"}] * 3


@pytest.mark.parametrize("kinds", itertools.product(BOTH, repeat=3), ids=lambda kinds: "-".join(kind[0] for kind in kinds))
def test_a_call_may_come_round_in_a_circle(start, kinds):
    """A calls B, B calls C, C calls A, twice round: nobody holds anything, so nobody waits."""
    servers = [start(kind) for kind in kinds]
    first, second, third = (server.uri("context") for server in servers)
    with servers[0].proxy("context") as proxy:
        assert proxy.relay([second, third, first] * 2) == 6


@pytest.mark.parametrize("key", ["BLBI", "STRM"])
@pytest.mark.against("antifreeze")  # Pyro5 forwards these too, to nobody's use
def test_annotations_of_the_protocol_itself_are_not_forwarded(server, start, context, key):
    far = start("pyro5-thread")
    context.annotations = {key: b"stale", "XYZZ": b"x"}
    with server.proxy("context") as proxy:
        _, distant = proxy.forward(far.uri("context"))
    assert distant["annotations"] == {"XYZZ": "x"}


@pytest.mark.against("antifreeze")  # in Pyro5 they do
def test_response_annotations_of_a_nested_call_do_not_travel_upward(server, start, context):
    far = start("pyro5-thread")
    with server.proxy("context") as proxy:
        assert proxy.nested_response(far.uri("context"), "ANNO", "inner") == "responded"
    assert "ANNO" not in context.response_annotations


@pytest.mark.not_by("marshal")  # Pyro5's client cannot do it
def test_annotations_with_a_batch(server, serializer, context):
    from Pyro5.api import BatchProxy

    context.annotations = {"XYZZ": b"batch"}
    with server.proxy("context", serializer) as proxy:
        batch = BatchProxy(proxy)
        batch.report()
        batch.report()
        assert [r["annotations"] for r in batch()] == [{"XYZZ": "batch"}] * 2


def test_large_annotations(server, serializer, context):
    context.annotations = {"BULK": b"x" * 1_000_000}
    with server.proxy("context", serializer) as proxy:
        assert len(proxy.report()["annotations"]["BULK"]) == 1_000_000


@pytest.mark.parametrize("kind", [*BOTH, "antifreeze-threads"])
def test_a_daemon_adds_annotations_to_all_its_answers(start, kind, context):
    server = start(kind, "--annotation", "of the daemon")

    def told():
        return bytes(context.response_annotations.pop("DAEM", b""))

    with server.proxy("context") as proxy:
        proxy._pyroBind()
        assert told() == b"of the daemon"
        proxy.respond("ANNO", "of the method")
        assert told() == b"of the daemon"
        assert bytes(context.response_annotations["ANNO"]) == b"of the method"
        # It has the last word.
        proxy.respond("DAEM", "of the method")
        assert told() == b"of the daemon"
        with pytest.raises(TypeError):
            proxy.respond()
        assert told() == b"of the daemon"
    with wire.Raw(server.address) as raw:
        refused = raw.send(wire.connect("nobody")).reply()
        assert refused.kind == wire.CONNECTFAIL
        assert refused.annotations["DAEM"] == b"of the daemon"
