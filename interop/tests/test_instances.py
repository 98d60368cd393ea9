"""Registered classes: one instance a session, one for all, or one a call."""

import pytest
from harness import in_threads


def test_session_instances_belong_to_their_connection(server, serializer):
    with server.proxy("session", serializer) as a, server.proxy("session", serializer) as b:
        assert [a.calls(), a.calls(), b.calls(), a.calls()] == [1, 2, 1, 3]
        number = a.number()
        assert number != b.number()
        a._pyroRelease()
        assert a.calls() == 1 and a.number() != number, "a new connection gets a new instance"


def test_the_single_instance_is_shared(server, serializer):
    with server.proxy("single", serializer) as a, server.proxy("single", serializer) as b:
        assert a.number() == b.number()
        before = a.calls()
        assert b.calls() == before + 1


def test_the_single_instance_is_made_once(start, server):
    fresh = start(server.kind)

    def work(_):
        with fresh.proxy("single") as proxy:
            return proxy.number()

    assert len(set(in_threads(16, work))) == 1


def test_every_call_gets_an_instance_of_its_own(server, serializer):
    with server.proxy("percall", serializer) as proxy:
        assert [proxy.calls() for _ in range(3)] == [1, 1, 1]
        assert proxy.number() != proxy.number()


def test_session_instances_of_many_clients_are_different(server):
    def work(_):
        with server.proxy("session", "msgpack") as proxy:
            numbers = {proxy.number() for _ in range(5)}
            assert len(numbers) == 1
            return numbers.pop()

    assert len(set(in_threads(16, work))) == 16


def test_a_failing_constructor_fails_the_call_not_the_handshake(server, serializer):
    with server.proxy("unborn", serializer) as proxy:
        proxy._pyroBind()
        assert proxy._pyroMethods == {"number"}
        for _ in range(2):
            with pytest.raises(Exception, match="cannot be made") as caught:
                proxy.number()
            assert type(caught.value) in (ValueError, RuntimeError)
