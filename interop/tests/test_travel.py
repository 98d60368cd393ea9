"""Objects that travel as proxies, in both directions, and the calls back that come of it."""

import threading

import pytest
from Pyro5.api import Daemon, Proxy, callback, expose, oneway
from Pyro5.core import URI
from Pyro5.errors import CommunicationError


@expose
class Listener:
    name = property(lambda self: "a listener")

    def __init__(self):
        self.heard = []

    def hear(self, text):
        self.heard.append(text)
        return len(text)

    @oneway
    def overhear(self, text):
        self.heard.append(text)

    @callback
    def refuse(self):
        raise ValueError("not today")


class Home(Daemon):
    def __init__(self):
        super().__init__()
        #: One for each client that has left.
        self.left = threading.Semaphore(0)

    def clientDisconnect(self, conn):
        self.left.release()


@pytest.fixture
def home():
    """A daemon of this process in a thread, as callbacks need it."""
    with Home() as daemon:
        thread = threading.Thread(target=daemon.requestLoop, daemon=True)
        thread.start()
        yield daemon
        daemon.shutdown()
        thread.join(10)


@pytest.fixture
def listener(home):
    listener = Listener()
    home.register(listener)
    return listener


def sent(listener, serializer):
    """By marshal, Pyro5 replaces no objects."""
    return listener if serializer != "marshal" else listener._pyroDaemon.proxyFor(listener)


def state(proxy):
    """All that travels of a proxy."""
    uri, oneway, methods, attrs, handshake, serializer = proxy.__getstate__()
    return uri, set(oneway), set(methods), set(attrs), handshake, serializer


def test_a_server_calls_back(server, serializer, listener):
    with server.proxy("travel", serializer) as travel:
        assert travel.call(sent(listener, serializer), "hear", ["hello"]) == 5
        with pytest.raises(ValueError, match="^not today$"):
            travel.call(sent(listener, serializer), "refuse", [])
        assert travel.call(sent(listener, serializer), "hear", ["again"]) == 5
    assert listener.heard == ["hello", "again"]


def test_a_failed_callback_costs_a_connection_and_nothing_else(server, serializer, home, listener):
    with server.proxy("travel", serializer) as travel:
        travel.keep(sent(listener, serializer))
        assert travel.call_kept("hear", ["hello"]) == travel.call_kept("hear", ["hallo"]) == 5
        assert not home.left.acquire(blocking=False)
        with pytest.raises(ValueError, match="^not today$"):
            travel.call_kept("refuse", [])
        assert home.left.acquire(timeout=10)
        # Pyro5's proxies do not connect again by themselves.
        if server.ours:
            assert travel.call_kept("hear", ["again"]) == 5
    assert listener.heard == ["hello", "hallo", *["again"] * server.ours]


def test_a_proxy_comes_back_as_it_went(server, serializer, home, listener):
    with server.proxy("travel", serializer) as travel:
        travel.keep(sent(listener, serializer))
        kept = travel.kept()
        assert isinstance(kept, Proxy) and state(kept) == state(home.proxyFor(listener))
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
        (within,) = travel.make_some()["made"]
        proxies = [travel.make(), within]
    assert proxies[0] != proxies[1]
    for made in proxies:
        assert isinstance(made, Proxy) and made._pyroMethods == {"name"}
        assert made._pyroUri.location == URI(server.uri("travel")).location
        with made:
            assert made.name() == "made"


def test_a_proxy_of_nobody(server, serializer):
    nobody = Proxy("PYRO:nobody@localhost:1")
    nobody._pyroHandshake = {"secret": [1, None]}
    nobody._pyroSerializer = "json"
    with server.proxy("travel", serializer) as travel:
        travel.keep(nobody)
        kept = travel.kept()
        assert isinstance(kept, Proxy) and state(kept) == state(nobody)
        with pytest.raises(CommunicationError, match="cannot connect"):
            kept._pyroBind()


@pytest.mark.against("antifreeze", "pyro5-thread")
def test_a_server_calls_back_into_rust(client, server, serializer):
    client.run("callback", server.uri("travel"), "--serializer", serializer)


@pytest.mark.against("antifreeze", "pyro5-thread")
@pytest.mark.not_by("marshal")
def test_the_rust_client_gets_proxies(client, server, serializer):
    client.run("made", server.uri("travel"), "--serializer", serializer)
