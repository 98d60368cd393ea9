"""Locks that a method takes: who waits in a circle is told so, and locks are free again."""

import errno
import json
import time

import pytest
from harness import in_threads

EDEADLK = 35
SOON = 1.0

# `&self` methods of one object, and `&mut self` methods of two that share their locks.
DINNERS = {
    "shared": (("philosopher", "left_first"), ("philosopher", "right_first")),
    "alone": (("philosopher", "left_first_alone"), ("neighbour", "right_first_alone")),
}


def check_deadlock(error, *named):
    """A stock client has all of it: a number, a text for people, and data for programs."""
    assert type(error) is OSError
    assert error.errno == EDEADLK
    assert errno.EDEADLK == EDEADLK, "these tests run on Linux"
    number, text = error.args
    assert number == EDEADLK
    for name in ("deadlock", *named):
        assert name in text, f"{name!r} is not in {text!r}"
    told = error.antifreeze
    assert told["v"] == 1
    assert told["id"].startswith("af-") and f"[{told['id']}]" in text
    assert told["kind"] in ("cycle", "self_lock")
    assert told["cycle"][told["victim"]]["waits"]
    assert json.loads(json.dumps(told)) == told
    assert "__class__" not in json.dumps(told)
    return told


@pytest.mark.against("antifreeze")  # Pyro5 hangs for ever
@pytest.mark.parametrize("dinner", DINNERS)
def test_one_of_two_callers_in_a_circle_is_told_and_the_other_goes_on(server, serializer, dinner):
    def dine(index):
        name, method = DINNERS[dinner][index]
        with server.proxy(name, serializer) as proxy:
            proxy._pyroBind()
            connection = proxy._pyroConnection
            begun = time.monotonic()
            try:
                outcome = getattr(proxy, method)()
            except OSError as error:
                outcome = error
            took = time.monotonic() - begun
            assert proxy._pyroConnection is connection, "the connection was lost"
            return outcome, took

    outcomes = in_threads(2, dine)
    results = [outcome for outcome, _ in outcomes if not isinstance(outcome, OSError)]
    errors = [outcome for outcome, _ in outcomes if isinstance(outcome, OSError)]
    assert results == [2], outcomes
    methods = [f"{name}.{method}" for name, method in DINNERS[dinner]]
    told = check_deadlock(errors[0], "left fork", "right fork", *methods)
    assert told["kind"] == "cycle"
    assert sorted(member["agent"]["name"] for member in told["cycle"]) == sorted(methods)
    assert {member["agent"]["kind"] for member in told["cycle"]} == {"call"}
    held = [hold["resource"]["name"] for member in told["cycle"] for hold in member["holds"]]
    assert sorted(held) == ["left fork", "right fork"]
    assert max(took for _, took in outcomes) < SOON
    with server.proxy("philosopher", serializer) as proxy:
        assert proxy.is_free() is True


def test_a_lock_is_free_after_its_holder_raised(server, serializer):
    with server.proxy("philosopher", serializer) as proxy:
        with pytest.raises(ValueError, match="the soup is cold"):
            proxy.fail()
        assert proxy.is_free() is True
        with pytest.raises(RuntimeError, match="the soup is hot"):
            proxy.explode()
        assert proxy.is_free() is True


@pytest.mark.against("antifreeze")  # Pyro5 hangs for ever
@pytest.mark.parametrize("method", ["twice", "twice_and_say_so", "twice_and_panic"])
def test_a_method_that_locks_twice_is_told(server, serializer, method):
    with server.proxy("philosopher", serializer) as proxy:
        with pytest.raises(OSError) as caught:
            getattr(proxy, method)()
        said = ["the philosopher starves: deadlock"] if method == "twice_and_say_so" else []
        told = check_deadlock(caught.value, "left fork", f"philosopher.{method}", *said)
        assert told["kind"] == "self_lock"
        assert proxy.is_free() is True


@pytest.mark.against("antifreeze")  # as above
@pytest.mark.parametrize("middle", ["antifreeze", "pyro5-thread"])
def test_a_deadlock_is_told_through_another_server(server, start, serializer, middle):
    with start(middle).proxy("errors", serializer) as proxy:
        with pytest.raises(OSError) as caught:
            proxy.forward(server.uri("philosopher"), "twice")
        check_deadlock(caught.value, "left fork", "philosopher.twice")


def test_a_lock_that_took_too_long_is_a_timeout(server, serializer):
    with server.proxy("philosopher", serializer) as proxy:
        with pytest.raises(TimeoutError):
            proxy.too_late()
