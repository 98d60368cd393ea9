"""Oneway calls: the flag decides, order is kept, and nothing is lost at the end."""

import socket
import time

import pytest
import wire


@pytest.fixture
def recorder(server, serializer):
    with server.proxy("recorder", serializer) as proxy:
        proxy.clear()
        yield proxy


def test_a_oneway_call_returns_nothing_and_runs(recorder):
    assert recorder.note("a") is None
    assert recorder.wait_for(1) == ["a"]


@pytest.fixture
def journal(server, serializer):
    """An object whose methods run one at a time; those of `recorder` run side by side."""
    with server.proxy("journal", serializer) as proxy:
        proxy.clear()
        yield proxy


@pytest.mark.against("antifreeze")  # in Pyro5 every oneway call has a thread of its own
def test_a_call_after_a_oneway_call_sees_what_it_did(journal):
    for i in range(300):
        journal.note(2 * i)
        journal.plain(2 * i + 1)
    assert journal.entries() == list(range(600))


@pytest.mark.against("antifreeze")
def test_oneway_calls_run_in_order_and_before_a_later_call(journal):
    for i in range(500):
        journal.note(i)
    journal.plain("last")
    assert journal.entries() == [*range(500), "last"]


@pytest.mark.against("antifreeze")  # Pyro5 does
def test_a_oneway_call_does_not_delay_the_call_after_it(recorder):
    """Without TCP_QUICKACK at the server, Nagle's algorithm in the client costs 40 ms each."""
    recorder._pyroBind()
    begun = time.monotonic()
    for _ in range(20):
        recorder.note(1)
        recorder.clear()
    took = time.monotonic() - begun
    assert took < 20 * 0.020, f"{took / 20 * 1000:.1f} ms each"


def test_an_error_in_a_oneway_call_reaches_nobody(recorder):
    recorder.fail()
    recorder._pyroInvoke("no_such_method", (), {}, flags=wire.ONEWAY)
    recorder._pyroInvoke("note", ("x",), {}, flags=wire.ONEWAY, objectId="nobody")
    assert recorder.plain("alive") == "alive"


def flagged(raw, method, args, flags, seq):
    raw.send(wire.invoke("recorder", method, args, flags=flags, seq=seq))


def test_the_flag_decides_not_the_marking(server):
    with server.proxy("recorder") as proxy, wire.Raw(server.address) as raw:
        proxy.clear()
        raw.handshake("recorder")
        flagged(raw, "note", ["with an answer"], 0, 7)
        reply = raw.reply()
        assert (reply.kind, reply.seq, reply.value) == (wire.RESULT, 7, "never seen")
        flagged(raw, "plain", ["without"], wire.ONEWAY, 8)
        flagged(raw, "wait_for", [2], 0, 9)
        reply = raw.reply()
        assert reply.seq == 9, "the oneway call was answered"
        assert reply.value == ["with an answer", "without"]


@pytest.mark.parametrize("end", ["close", "shutdown", "reset"])
def test_a_oneway_call_is_executed_though_the_caller_is_gone(server, end):
    with server.proxy("recorder") as proxy:
        proxy.clear()
        for i in range(20):
            with wire.Raw(server.address) as raw:
                raw.handshake("recorder")
                flagged(raw, "note", [i], wire.ONEWAY, 1)
                if end == "shutdown":
                    raw.socket.shutdown(socket.SHUT_WR)
                elif end == "reset":
                    # Closing with unread data resets; the server has our message before that.
                    raw.send(wire.message(wire.PING, b"ping", serializer=42))
        assert sorted(proxy.wait_for(20)) == list(range(20))


def test_a_python_client_that_closes_right_after_a_oneway_call(server, serializer):
    with server.proxy("recorder", serializer) as watcher:
        watcher.clear()
        for i in range(20):
            with server.proxy("recorder", serializer) as proxy:
                proxy.note(i)
        assert sorted(watcher.wait_for(20)) == list(range(20))
