"""Item streams: what Pyro5's own client sees of them, and what a daemon does when a client is gone."""

import gc

import Pyro5.api
import Pyro5.errors
import pytest
import wire

LINGER = {"ANTIFREEZE_STREAM_LINGER": "{}", "PYRO_ITER_STREAM_LINGER": "{}"}
LIFETIME = {"ANTIFREEZE_STREAM_LIFETIME": "{}", "PYRO_ITER_STREAM_LIFETIME": "{}"}
STREAMING = {"ANTIFREEZE_ITEM_STREAMS": "{}", "PYRO_ITER_STREAMING": "{}"}
KINDS = ("antifreeze", "antifreeze-threads", "pyro5-thread", "pyro5-multiplex")


def setting(names, value):
    return {name: form.format(value) for name, form in names.items()}


def terminated(take):
    with pytest.raises(Pyro5.errors.PyroError, match="item stream terminated"):
        take()


def test_items_come_one_by_one(server, serializer):
    with server.proxy("streams", serializer) as streams:
        assert list(streams.count(5)) == [0, 1, 2, 3, 4]
        assert list(streams.count(0)) == []
        assert [word for word in streams] == ["first", "second"]
        if serializer != "marshal":
            # Pyro5's client cannot use attributes by marshal.
            assert list(streams.words) == ["one", "two"]
        items = [None, True, 1.5, "x", [1, ["y"]], {"a": 1}]
        assert list(streams.given(items)) == items
        first, second = streams.count(2), streams.count(2)
        assert [next(first), next(second), next(first), next(second)] == [0, 0, 1, 1]
        for done in (first, second):
            assert list(done) == [] and list(done) == []
        assert streams.values() == [1, 2]


def test_errors_end_a_stream(server, serializer):
    with server.proxy("streams", serializer) as streams:
        items = streams.failing()
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(ValueError, match="no third one"):
            next(items)
        terminated(lambda: next(items))
        assert streams.values() == [1, 2]


def test_streams_are_closed_when_nobody_wants_them(server, serializer):
    with server.proxy("streams", serializer) as streams, server.proxy("streams") as other:
        items = streams.endless()
        assert next(items) == 0
        other.wait_open(1)
        # On the same connection, as nothing was called meanwhile.
        items.close()
        other.wait_open(0)
        items = streams.endless()
        assert next(items) == 0
        streams.values()
        other.wait_open(1)
        # On a connection of its own.
        items.close()
        other.wait_open(0)
        items = streams.endless()
        assert next(items) == 0
        del items
        gc.collect()
        other.wait_open(0)


def test_anybody_who_knows_its_id_may_use_a_stream(server):
    with server.proxy("streams") as streams, server.proxy("streams") as other:
        items = streams.endless()
        assert next(items) == 0
        uri = Pyro5.api.URI(server.uri("streams"))
        uri.object = "Pyro.Daemon"
        with Pyro5.api.Proxy(uri) as daemon:
            assert daemon.get_next_stream_item(items.streamId) == 1
            assert next(items) == 2
            with Pyro5.api.BatchProxy(daemon) as batch:
                batch.get_next_stream_item(items.streamId)
                batch.get_next_stream_item(items.streamId)
                assert list(batch()) == [3, 4]
            assert daemon.close_stream(items.streamId) is None
            other.wait_open(0)
            terminated(lambda: daemon.get_next_stream_item(items.streamId))
            terminated(lambda: daemon.get_next_stream_item("none such"))
        terminated(lambda: next(items))


def test_a_batch_takes_no_streams(server):
    with server.proxy("streams") as streams:
        batch = Pyro5.api.BatchProxy(streams)
        batch.values()
        batch.count(3)
        with pytest.raises(TypeError):
            list(batch())
        assert streams.values() == [1, 2]


def test_each_item_is_a_call_with_annotations(server, serializer, context):
    with server.proxy("streams", serializer) as streams:
        items = streams.annotated()
        for user in ("ada", "bob"):
            context.annotations = {"USER": user.encode()}
            assert next(items) == user
            assert bytes(context.response_annotations["ITEM"]) == user.encode()
        context.annotations = {}


def test_what_goes_over_the_wire(server):
    with wire.Raw(server.address) as raw:
        raw.handshake("streams")
        marker = raw.send(wire.invoke("streams", "count", [1])).reply()
        assert marker.flags == wire.EXCEPTION | wire.STREAM | wire.CORRELATION
        assert b"result of call is an iterator" in marker.payload
        assert b"'_pyroTraceback':None" in marker.payload
        stream = marker.annotations["STRM"].decode("ascii")
        assert len(stream) == 36
        ask = ("Pyro.Daemon", "get_next_stream_item", [stream])
        item = raw.send(wire.invoke(*ask, seq=2)).reply()
        assert (item.flags, item.value) == (wire.CORRELATION, 0)
        end = raw.send(wire.invoke(*ask, seq=3)).reply()
        assert end.flags == wire.EXCEPTION | wire.CORRELATION
        assert isinstance(end.value, StopIteration) and end.value.args == ()


@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_back_goes_on(start, kind):
    server = start(kind)
    with server.proxy("streams") as streams:
        items = streams.endless()
        assert next(items) == 0
        streams._pyroRelease()
        with pytest.raises(Pyro5.errors.ConnectionClosedError, match="has been closed"):
            next(items)
        streams._pyroReconnect()
        assert next(items) == 1
        streams.wait_open(1)


@pytest.mark.parametrize("kind", KINDS)
def test_who_vanishes_leaves_nothing_behind(start, kind):
    server = start(kind, env=setting(LINGER, 0))
    with server.proxy("streams") as streams, server.proxy("streams") as other:
        items = streams.endless()
        assert next(items) == 0
        streams._pyroRelease()
        other.wait_open(0)
        streams._pyroReconnect()
        terminated(lambda: next(items))


# A multiplex server does not look for them while a method waits.
@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("names", [LINGER, LIFETIME], ids=["linger", "lifetime"])
def test_streams_end_with_their_time(start, kind, names):
    server = start(kind, env=setting(names, 0.1))
    with server.proxy("streams") as streams, server.proxy("streams") as other:
        items = streams.endless()
        assert next(items) == 0
        if names is LINGER:
            streams._pyroRelease()
        other.wait_open(0)
        streams._pyroReconnect()
        terminated(lambda: next(items))


@pytest.mark.parametrize("kind", KINDS)
def test_streaming_may_be_off(start, kind, client):
    server = start(kind, env=setting(STREAMING, "false"))
    with server.proxy("streams") as streams:
        with pytest.raises(Pyro5.errors.ProtocolError, match="not configured to allow streaming"):
            streams.count(3)
        assert streams.values() == [1, 2]
    client.run("no-streams", server.uri("streams"))


@pytest.mark.against("pyro5-thread", "pyro5-multiplex", "antifreeze")
def test_the_rust_client(server, client, serializer):
    client.run("streams", server.uri("streams"), "--serializer", serializer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rust_client_comes_back_or_does_not(start, kind, client):
    client.run("streams-resumed", start(kind).uri("streams"))
    client.run("streams-lost", start(kind, env=setting(LINGER, 0)).uri("streams"))


@pytest.mark.against("antifreeze")  # Pyro5 hangs for ever
@pytest.mark.parametrize("through", [None, "pyro5-thread", "pyro5-multiplex"])
def test_items_that_need_what_their_consumer_holds(server, start, serializer, through):
    library = server.uri("library")
    with server.proxy("shelf", serializer) as shelf, server.proxy("streams", serializer) as streams:
        with pytest.raises(OSError) as raised:
            if through is None:
                shelf.copy(library)
            else:
                shelf.copy_through(start(through).uri("streams"), library)
        number, text = raised.value.args
        assert number == 35
        for name in ("deadlock", "library.books.next", "shelf.copy"):
            assert name in text, text
        # The shelf is free again.
        assert streams.take(library, "books") == ["Emma", "Walden"]


def test_the_hook_is_told_of_clients_that_are_gone(server, start):
    # On a server of its own: clients of other tests may take their time to leave.
    server = start(server.kind)
    with server.proxy("guests") as watch:
        before = watch.left()
        with server.proxy("guests") as guest:
            assert guest.left() == before
        watch.wait_left(before + 1)
        # Who was not let in cannot leave.
        with pytest.raises(Pyro5.errors.CommunicationError, match="unknown object"):
            server.proxy("guests")._pyroBind()
            uri = Pyro5.api.URI(server.uri("guests"))
            uri.object = "none such"
            Pyro5.api.Proxy(uri)._pyroBind()
        watch.wait_left(before + 2)
        assert watch.left() == before + 2


def test_what_is_tracked_is_closed_with_its_connection(server):
    with server.proxy("guests") as watch:
        with server.proxy("guests") as guest:
            for name in ("kept", "hat", "coat"):
                guest.track(name)
            guest.untrack("kept")
            # It is not this one's to untrack.
            watch.untrack("hat")
            assert not {"kept", "hat", "coat"} & set(watch.closed())
        watch.wait_closed("hat")
        watch.wait_closed("coat")
        assert "kept" not in watch.closed()
