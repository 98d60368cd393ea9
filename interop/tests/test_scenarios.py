"""Deadlocks through programs of Pyro5 as it is: what is found of them, and what is not."""

import threading

import Pyro5.api
import pytest
from harness import Client
from node import serve
from rings import SOON, call, call_all, check_free, check_one_victim

BOTH = pytest.mark.parametrize("ours", ["threads", "event_loop"])
PYTHONS = pytest.mark.parametrize("python", ["thread", "multiplex"])
INFERRED = "inferred: a program in between cannot be asked"


@BOTH
@PYTHONS
def test_01c_the_conversation_with_python_in_between(nodes, ours, python):
    foos, middle, bars = nodes(ours, python, ours)
    crossing = call_all("hop_lock", [[bars, middle, foos], [foos, bars]])
    told = check_one_victim(crossing, [foos, bars], "node.hop_lock", '"turn"', INFERRED)
    assert told["kind"] == "cycle"
    back = call("hop_lock", [bars, middle, foos, bars])
    told = check_one_victim([back], [foos, bars], "node.hop_lock", '"turn"', INFERRED)
    assert told["kind"] == "self_lock"
    check_free([foos, middle, bars])


@BOTH
@PYTHONS
@pytest.mark.parametrize("style", ["call", "batch"])
def test_04_a_ring_of_three_processes_with_python_in_between(
    nodes, ours, python, style
):
    first, middle, last = nodes(ours, f"{python} --style {style}", ours)
    back = call("hop", [first, middle, last, first], 10)
    if style == "call":
        check_one_victim([back], [first, last], "node.hop", "the victim", INFERRED)
    else:
        # Python leaves the attribute away in a batch; the text is all there.
        error, _ = back
        assert type(error) is OSError and error.errno == 35, error
        for word in (first.place, last.place, "node.hop", "the victim", INFERRED):
            assert word in error.strerror
    check_free([first, last])


@BOTH
@PYTHONS
def test_04_a_ring_that_is_left_by_a_oneway_call_is_none(nodes, ours, python):
    first, middle = nodes(ours, f"{python} --style oneway")
    outcome, _ = call("hop", [first, middle, first], 100)
    assert outcome == [first.uri, middle.uri]
    check_free([first, middle])
    assert first.detector()["verdicts"] == 0


def test_10_a_proxy_of_python_is_used_by_what_was_called_over_it(nodes):
    (python,) = nodes("thread")
    text = Client().run("same-proxy", python.uri)
    for word in ("turns of a proxy", "again.pass_on", python.place, INFERRED):
        assert word in text


@BOTH
def test_11_a_callback_into_a_python_client(nodes, ours):
    (server,) = nodes(ours)
    with Pyro5.api.Daemon() as daemon:
        client = serve(daemon)
        serving = threading.Thread(target=daemon.requestLoop, daemon=True)
        serving.start()

        class Here:
            uri = client

        back = call("hop", [server, Here, server], 10)
        told = check_one_victim([back], [server], "node.hop", INFERRED)
        assert told["kind"] == "self_lock"
        outcome, _ = call("peek", [server, Here, server], 10)
        assert outcome == [server.uri, client, server.uri]
        daemon.shutdown()


@BOTH
def test_12_a_multiplex_server_is_called_back_by_its_own_descendant(nodes, ours):
    first, single, last = nodes(ours, "multiplex", ours)
    for path in ([first, single, last, single], [first, single, first, single]):
        for method in ("pass_on", "peek"):
            told = check_one_victim([call(method, path, 10)], [], f"node.{method}", single.place)
            assert told["kind"] == "self_lock"
            check_free([first, single, last])


@BOTH
def test_two_chains_cross_through_one_multiplex_server(nodes, ours):
    one, single, other = nodes(ours, "multiplex", ours)
    for _ in range(2):
        crossing = call_all("hop", [[one, single, other], [other, single, one]])
        check_one_victim(crossing, [single], "node.hop", INFERRED)
        check_free([one, single, other])


@BOTH
def test_two_chains_cross_through_one_thread_server(nodes, ours):
    one, many, other = nodes(ours, "thread", ours)
    crossing = call_all("hop", [[one, many, other], [other, many, one]])
    check_one_victim(crossing, [one, other], "node.hop", INFERRED)
    check_free([one, many, other])


@BOTH
def test_chains_that_take_turns_at_a_multiplex_server_are_no_deadlock(nodes, ours):
    one, single, other = nodes(ours, "multiplex", ours)
    paths = [[one, single, other], [one, single], [single, other], [one, other]]
    for outcome, _ in call_all("hop", paths, 100) + call_all("hop", paths, 400):
        assert isinstance(outcome, list), outcome
    for node in (one, other):
        assert node.detector()["verdicts"] == 0


@BOTH
def test_13_what_a_multiplex_server_does_between_requests_is_no_descendant(
    nodes, ours
):
    first, busy, single = nodes(ours, ours, "multiplex --style chore")
    # It calls `busy` while that is held by somebody else, with the annotations of `first`.
    (told, _), (held, _) = call_all("hop", [[first, single, busy], [busy]], 700)
    assert told == [first.uri, single.uri] and held == [busy.uri]
    with Pyro5.api.Proxy(single.uri) as proxy:
        proxy._pyroTimeout = SOON
        assert proxy.kept_house() == str([busy.uri])
    for node in (first, busy):
        assert node.detector()["verdicts"] == 0


@BOTH
@pytest.mark.parametrize("busy", [100, 1000])
def test_14_a_fork_within_python_is_inferred_to_be_a_deadlock_only_if_it_lasts(
    nodes, ours, busy
):
    first, forks, second = nodes(ours, f"thread --style oneway --busy {busy}", "thread")
    # Python goes on by itself, while what it called oneway waits for its caller.
    outcome, _ = call("hop", [first, forks, second, first], 0)
    assert outcome == [first.uri, forks.uri]
    # Nothing on the wire tells a fork from a call, so this is the documented exception.
    assert first.detector()["verdicts"] == (0 if busy == 100 else 1)
    check_free([first, forks, second])
