"""Plain calls: arguments, names, objects, metadata, and the daemon's own object."""

import Pyro5.api
import Pyro5.errors
import pytest
from harness import in_threads
from Pyro5.client import _RemoteMethod


def call(proxy, method, *args, **kwargs):
    """Calls without the proxy's own check that the method exists."""
    return proxy._pyroInvoke(method, args, kwargs)


CALLS = [
    ("add", (2, 3), {}, 5),
    ("add", (2,), {"b": 3}, 5),
    ("add", (), {"b": 2, "a": 3}, 5),
    ("add", (-1, 1), {}, 0),
    ("greet", ("you",), {}, "hello you!"),
    ("greet", ("you", "hi"), {}, "hi you!"),
    ("greet", ("you",), {"punctuation": "?"}, "hello you?"),
    ("greet", (), {"punctuation": ".", "name": "Ada", "greeting": "bye"}, "bye Ada."),
    ("total", (), {}, 0),
    ("total", (1, 2, 3), {}, 6),
    ("settings", (), {}, []),
    ("settings", (), {"b": 1, "a": "x"}, [["a", "x"], ["b", 1]]),
    ("mixed", (1,), {}, [1, [], {}]),
    ("mixed", (1, 2, "x"), {"k": None}, [1, [2, "x"], {"k": None}]),
    ("optional", (), {}, "nothing"),
    ("optional", (None,), {}, "nothing"),
    ("optional", (), {"x": "something"}, "something"),
    ("half", (3,), {}, 1.5),
    ("half", (3.0,), {}, 1.5),
    ("nothing", (), {}, None),
    ("new_name", (), {}, "renamed"),
]


@pytest.mark.parametrize("method, args, kwargs, expected", CALLS)
def test_arguments_reach_their_parameters(server, serializer, method, args, kwargs, expected):
    with server.proxy("calc", serializer) as proxy:
        assert getattr(proxy, method)(*args, **kwargs) == expected


def test_a_tuple_result(server, serializer):
    with server.proxy("calc", serializer) as proxy:
        assert proxy.pair() == ((1, "x") if serializer in ("serpent", "marshal") else [1, "x"])


MISMATCHES = [
    ("add", (), {}),
    ("add", (1,), {}),
    ("add", (1, 2, 3), {}),
    ("add", (1, 2), {"c": 3}),
    ("add", (1, 2), {"a": 3}),
    ("greet", (), {"greeting": "hi"}),
    ("nothing", (1,), {}),
    ("total", (), {"x": 1}),
    ("settings", (1,), {}),
    ("mixed", (), {}),
    ("optional", (1, 2), {}),
]


@pytest.mark.parametrize("method, args, kwargs", MISMATCHES)
def test_arguments_that_do_not_fit_are_a_type_error(server, serializer, method, args, kwargs):
    with server.proxy("calc", serializer) as proxy:
        with pytest.raises(TypeError, match=method):
            getattr(proxy, method)(*args, **kwargs)
        assert proxy.add(1, 2) == 3


@pytest.mark.against("antifreeze")  # Python has no types for parameters
@pytest.mark.parametrize(
    "method, argument, error",
    [
        ("small", 300, OverflowError),
        ("small", -1, OverflowError),
        ("small", 2**70, OverflowError),
        ("small", "3", TypeError),
        ("small", 1.5, TypeError),
        ("small", None, TypeError),
        ("small", [1], TypeError),
        ("text", 5, TypeError),
        ("text", None, TypeError),
        ("text", ["a"], TypeError),
    ],
)
def test_arguments_of_the_wrong_type(server, serializer, method, argument, error):
    with server.proxy("calc", serializer) as proxy:
        with pytest.raises(error):
            getattr(proxy, method)(argument)
        assert proxy.small(255) == 255 and proxy.text("x") == "x"


NAMES = [
    ("_private", "attempt to access private attribute '_private'"),
    ("__private", "attempt to access private attribute '__private'"),
    ("__init__", "attempt to access private attribute '__init__'"),
    ("__class__", "attempt to access private attribute '__class__'"),
    ("__reduce__", "attempt to access private attribute '__reduce__'"),
    ("____", "attempt to access private attribute '____'"),
    ("missing", "'Attributes' object has no attribute 'missing'"),
    ("", "'Attributes' object has no attribute ''"),
    ("method.call", "'Attributes' object has no attribute 'method.call'"),
    ("unexposed", "attempt to access unexposed attribute 'unexposed'"),
]


@pytest.mark.parametrize("name, text", NAMES)
def test_names_that_cannot_be_called(server, serializer, name, text):
    with server.proxy("attributes", serializer) as proxy:
        with pytest.raises(AttributeError) as caught:
            call(proxy, name)
        assert str(caught.value) == text
        assert call(proxy, "method") == "method"


def test_the_client_checks_names_by_the_metadata(server):
    with server.proxy("attributes") as proxy:
        with pytest.raises(AttributeError, match="has no exposed attribute or method 'missing'"):
            proxy.missing


def test_a_dotted_name(server):
    with server.proxy("calc") as proxy:
        with pytest.raises(AttributeError) as caught:
            _RemoteMethod(proxy._pyroInvoke, "add.again", 0)()
        assert str(caught.value) == "'Calc' object has no attribute 'add.again'"


def test_an_unknown_object_in_a_call(server, serializer):
    with server.proxy("calc", serializer) as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        for _ in range(2):
            with pytest.raises(Pyro5.errors.DaemonError) as caught:
                proxy._pyroInvoke("add", (1, 2), {}, objectId="nobody")
            assert str(caught.value) == "unknown object"
        assert proxy.add(1, 2) == 3
        assert proxy._pyroConnection is connection


def test_any_object_may_be_called_on_any_connection(server, serializer):
    with server.proxy("calc", serializer) as proxy:
        assert proxy._pyroInvoke("echo", ("x",), {}, objectId="values") == "x"


METADATA = {
    "attributes": ({"method"}, set(), {"value", "fixed", "broken"}),
    "recorder": ({"note", "plain", "fail", "wait_for", "clear"}, {"note", "fail"}, set()),
    "counter": ({"increment", "value"}, set(), set()),
    "sequence": ({"__len__", "__getitem__", "__contains__"}, set(), set()),
    "session": ({"number", "calls"}, set(), set()),
    "Pyro.Daemon": (
        {"registered", "ping", "info", "get_metadata", "get_next_stream_item", "close_stream"},
        set(),
        set(),
    ),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_in_the_handshake_and_on_request(server, serializer, name):
    methods, oneway, attrs = METADATA[name]
    uri = Pyro5.api.URI(server.uri("calc"))
    uri.object = name
    with Pyro5.api.Proxy(uri) as proxy:
        proxy._pyroSerializer = serializer
        proxy._pyroBind()
        assert (proxy._pyroMethods, proxy._pyroOneway, proxy._pyroAttrs) == (methods, oneway, attrs)
        found = proxy._pyroInvoke("get_metadata", (name,), {}, objectId="Pyro.Daemon")
        assert set(found) == {"methods", "oneway", "attrs"}
        assert (set(found["methods"]), set(found["oneway"]), set(found["attrs"])) == (methods, oneway, attrs)


def daemon_of(server, serializer):
    uri = Pyro5.api.URI(server.uri("calc"))
    uri.object = "Pyro.Daemon"
    proxy = Pyro5.api.Proxy(uri)
    proxy._pyroSerializer = serializer
    return proxy


def test_the_daemon_object(server, serializer):
    with daemon_of(server, serializer) as daemon:
        assert daemon.ping() is None
        registered = daemon.registered()
        assert isinstance(registered, list)
        assert registered[0] == "Pyro.Daemon" and set(server.uris) <= set(registered)
        assert daemon.info().startswith("Pyro.Daemon bound on ")
        assert f"{len(registered)} objects registered" in daemon.info()
        with pytest.raises(Pyro5.errors.DaemonError) as caught:
            daemon.get_metadata("nobody")
        assert str(caught.value) == "unknown object"
        assert daemon.close_stream("no such stream") is None
        with pytest.raises(Pyro5.errors.PyroError, match="item stream terminated"):
            daemon.get_next_stream_item("no such stream")


def test_dunder_methods_work_through_the_proxy(server, serializer):
    with server.proxy("sequence", serializer) as proxy:
        assert len(proxy) == 3
        assert proxy[1] == "b"
        assert "c" in proxy and "z" not in proxy
        assert list(proxy) == ["a", "b", "c"]
        with pytest.raises(IndexError):
            proxy[7]


def test_an_object_with_nothing_exposed(server):
    with server.proxy("nothing") as proxy:
        with pytest.raises(Pyro5.errors.PyroError, match="doesn't expose any methods or attributes"):
            proxy._pyroBind()


def test_mutable_state(server, serializer):
    with server.proxy("counter", serializer) as proxy:
        before = proxy.value()
        assert [proxy.increment() for _ in range(5)] == [before + i for i in range(1, 6)]
        assert proxy.value() == before + 5


def test_increments_from_many_clients_are_all_counted(server):
    with server.proxy("counter") as proxy:
        before = proxy.value()

    def work(_):
        with server.proxy("counter", "msgpack") as mine:
            return [mine.increment() for _ in range(100)]

    seen = [n for numbers in in_threads(8, work) for n in numbers]
    assert sorted(seen) == list(range(before + 1, before + 801))


@pytest.mark.parametrize("by", ["msgpack"])
def test_ten_thousand_calls_on_one_connection(server, by):
    with server.proxy("values", by) as proxy:
        for i in range(10_000):
            assert proxy.echo(i) == i


def test_the_sequence_number_wraps(server):
    with server.proxy("values") as proxy:
        proxy._pyroBind()
        proxy._pyroSeq = 0xFFFD
        assert [proxy.echo(i) for i in range(5)] == list(range(5))
        assert proxy._pyroSeq == 2


@pytest.mark.against("antifreeze", "pyro5-multiplex")  # Pyro5's pool of threads has 80
def test_a_hundred_connections_at_once(server):
    def work(index):
        with server.proxy("values", "msgpack") as proxy:
            return [proxy.echo(index) for _ in range(10)]

    assert in_threads(100, work) == [[i] * 10 for i in range(100)]


@pytest.mark.parametrize("compression", [False, True])
def test_compressed_requests(server, serializer, compression, monkeypatch):
    monkeypatch.setattr(Pyro5.config, "COMPRESSION", compression)
    with server.proxy("values", serializer) as proxy:
        assert proxy.echo("x" * 5000) == "x" * 5000
