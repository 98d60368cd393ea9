"""The handshake: accepted, refused, and what the texts say."""

import Pyro5.api
import Pyro5.errors
import pytest


@pytest.fixture
def guarded(server, start):
    return start(server.kind, "--secret", "open sesame")


def test_the_right_secret(guarded, serializer):
    answers = []

    class Proxy(Pyro5.api.Proxy):
        def _pyroValidateHandshake(self, response):
            answers.append(response)

    with Proxy(guarded.uri("calc")) as proxy:
        proxy._pyroSerializer = serializer
        proxy._pyroHandshake = "open sesame"
        assert proxy.add(1, 2) == 3
    assert answers == [["welcome", {"to": "the test"}]]


@pytest.mark.parametrize("handshake", ["hello", "", None, {"secret": [1, 2]}, 5])
def test_a_wrong_secret_is_refused(guarded, serializer, handshake):
    with guarded.proxy("calc", serializer) as proxy:
        proxy._pyroHandshake = handshake
        for _ in range(2):
            with pytest.raises(Pyro5.errors.CommunicationError) as caught:
                proxy.add(1, 2)
            assert str(caught.value).startswith("connection to ")
            assert str(caught.value).endswith(" rejected: wrong secret")
        proxy._pyroHandshake = "open sesame"
        assert proxy.add(1, 2) == 3


def test_an_unknown_object(server, serializer):
    uri = Pyro5.api.URI(server.uri("calc"))
    uri.object = "nobody"
    with Pyro5.api.Proxy(uri) as proxy:
        proxy._pyroSerializer = serializer
        with pytest.raises(Pyro5.errors.CommunicationError) as caught:
            proxy._pyroBind()
    assert str(caught.value).endswith(" rejected: unknown object")


def test_the_default_answer(server, serializer):
    answers = []

    class Proxy(Pyro5.api.Proxy):
        def _pyroValidateHandshake(self, response):
            answers.append(response)

    with Proxy(server.uri("calc")) as proxy:
        proxy._pyroSerializer = serializer
        proxy._pyroHandshake = {"anything": [1, "x"]}
        proxy._pyroBind()
    assert answers == ["hello"]
