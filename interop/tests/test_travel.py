"""Objects that travel as proxies, in both directions, and the calls back that come of it."""

import threading

import pytest
from Pyro5.api import Daemon, Proxy, callback, expose
from Pyro5.errors import CommunicationError


@expose
class Listener:
    def __init__(self):
        self.heard = []

    def hear(self, text):
        self.heard.append(text)
        return len(text)

    @callback
    def refuse(self):
        raise ValueError("no")


@pytest.fixture
def listener():
    """An object of this process, served by a daemon in a thread, as callbacks need it."""
    listener = Listener()
    with Daemon() as daemon:
        daemon.register(listener)
        thread = threading.Thread(target=daemon.requestLoop, daemon=True)
        thread.start()
        yield listener
        daemon.shutdown()
        thread.join(10)


def sent(listener, serializer):
    """By marshal, Pyro5 replaces no objects."""
    return listener if serializer != "marshal" else listener._pyroDaemon.proxyFor(listener)


def test_a_server_calls_back(server, serializer, listener):
    with server.proxy("travel", serializer) as travel:
        assert travel.call(sent(listener, serializer), "hear", ["hello"]) == 5
        assert listener.heard == ["hello"]
        with pytest.raises(ValueError, match="no"):
            travel.call(sent(listener, serializer), "refuse", [])
        # The callback has cost the server its connection to us, and nothing else.
        assert travel.call(sent(listener, serializer), "hear", ["again"]) == 5


def test_a_proxy_comes_back_as_it_went(server, serializer, listener):
    with server.proxy("travel", serializer) as travel:
        assert travel.kept() is None or isinstance(travel.kept(), Proxy)
        travel.keep(sent(listener, serializer))
        kept = travel.kept()
        assert isinstance(kept, Proxy) and kept._pyroUri == listener._pyroDaemon.uriFor(listener)
        with kept:
            assert kept.hear("directly") == 8
        assert listener.heard == ["directly"]


@pytest.mark.not_by("marshal")
def test_an_object_of_the_server_comes_as_a_proxy(server, serializer):
    check_made(server, serializer)


@pytest.mark.against("antifreeze")
def test_also_by_marshal(server):
    """By which Pyro5 itself replaces no objects."""
    check_made(server, "marshal")


def check_made(server, serializer):
    with server.proxy("travel", serializer) as travel:
        made = travel.make()
        assert isinstance(made, Proxy) and made._pyroMethods == {"name"}
        with made:
            assert made.name() == "made"
        (made,) = travel.make_some()["made"]
        with made:
            assert made.name() == "made"


def test_a_proxy_of_nobody(server, serializer):
    with server.proxy("travel", serializer) as travel:
        travel.keep(Proxy("PYRO:nobody@localhost:1"))
        kept = travel.kept()
        assert str(kept._pyroUri) == "PYRO:nobody@localhost:1"
        with pytest.raises(CommunicationError):
            kept._pyroBind()


@pytest.mark.against("antifreeze", "pyro5-thread")
def test_a_server_calls_back_into_rust(client, server, serializer):
    client.run("callback", server.uri("travel"), "--serializer", serializer)


@pytest.mark.against("antifreeze", "pyro5-thread")
@pytest.mark.not_by("marshal")
def test_the_rust_client_gets_proxies(client, server, serializer):
    client.run("made", server.uri("travel"), "--serializer", serializer)
