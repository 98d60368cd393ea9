"""The Rust client against Pyro5's servers, and against our own.

Most scenarios check everything by themselves; see `interop-client`. What becomes of values is in
`test_table.py`.
"""

import threading

import pytest
import wire

SERVERS = ("pyro5-thread", "pyro5-multiplex", "antifreeze")
pytestmark = pytest.mark.against(*SERVERS)


SCENARIOS = [
    ("typed-values", "values"),
    ("nesting", "values"),
    ("add", "calc"),
    ("calls", "calc"),
    ("mismatch", "calc"),
    ("names", "attributes"),
    ("unknown-object", "calc"),
    ("metadata", "calc"),
    ("daemon-object", "calc"),
    ("ping", "calc"),
    ("errors", "errors"),
    ("custom-error", "errors"),
    ("attributes", "attributes"),
    ("batch", "calc"),
    ("batch-errors", "calc"),
    ("classes", "shop"),
    ("oneway", "recorder"),
    ("oneway-close", "recorder"),
    ("instances", "calc"),
    ("shared-session", "session"),
    ("shared-proxy", "values"),
    ("context", "context"),
    ("response-annotations", "context"),
    ("deadline", "recorder"),
    ("release", "calc"),
]


@pytest.mark.parametrize("scenario, target", SCENARIOS, ids=[name for name, _ in SCENARIOS])
def test_scenario(server, client, serializer, scenario, target):
    if scenario == "deadline" and server.kind == "pyro5-multiplex":
        pytest.skip("a multiplex server serves nobody while a method waits")
    if scenario in ("batch-errors", "classes") and serializer == "marshal" and not server.ours:
        pytest.skip("Pyro5 cannot marshal an object in a list")
    client.run(scenario, server.uri(target), "--serializer", serializer)


def test_64_mebibytes_in_each_direction(server, client, serializer):
    client.run("large", server.uri("values"), "--serializer", serializer)


@pytest.mark.parametrize("by", ["msgpack"])
def test_ten_thousand_calls(server, client, by):
    client.run("sequence", server.uri("values"), "--serializer", by)


@pytest.mark.against("antifreeze")  # Pyro5 starts a thread for each, in any order
@pytest.mark.parametrize("scenario", ["oneway-then-call", "oneway-order"])
def test_oneway_calls_keep_their_order(server, client, serializer, scenario):
    client.run(scenario, server.uri("journal"), "--serializer", serializer)


@pytest.mark.against("antifreeze", "pyro5-multiplex")  # Pyro5's pool of threads has 80
def test_a_hundred_connections_at_once(server, client):
    client.run("connections", server.uri("values"))


@pytest.mark.against("antifreeze", "pyro5-thread")  # one call at a time in multiplex
def test_a_pool_runs_calls_side_by_side(server, client):
    client.run("pooled", server.uri("recorder"))


@pytest.mark.parametrize("last", ["pyro5-thread", "antifreeze"])
def test_forwarding_by_the_server(server, start, client, serializer, last):
    """Rust client -> server -> another server."""
    far = start(last)
    client.run("forward", server.uri("context"), far.uri("context"), "--serializer", serializer)


@pytest.mark.parametrize("kinds", [
    ("antifreeze", "pyro5-thread"), ("pyro5-thread", "antifreeze"), ("pyro5-multiplex", "antifreeze"),
])
def test_forwarding_twice(server, start, client, kinds):
    """Rust client -> server -> server -> server."""
    middle, last = map(start, kinds)
    client.run("forward", server.uri("context"), middle.uri("context"), last.uri("context"))


def test_the_handshake(start, server, client, serializer):
    guarded = start(server.kind, "--secret", "open sesame")
    client.run("handshake", guarded.uri("calc"), "--serializer", serializer)
    client.run("refused-handshake", guarded.uri("calc"), "--serializer", serializer)


def test_a_unix_socket(start, server, client, tmp_path):
    unix = start(server.kind, "--unix", str(tmp_path / "socket"))
    client.run("calls", unix.uri("calc"))


def test_ipv6(start, server, client):
    v6 = start(server.kind, "--host", "::1")
    client.run("calls", v6.uri("calc"))


# A peer played by hand: what it answers to CONNECT and then to the call, the kind of the error that
# the client reports, and what it says. Before the call it is asked which sort of server it is.

META = b"# serpent utf-8 python3.2\n{'handshake':'hello','meta':{'methods':{'echo'},'oneway':(),'attrs':()}}"
OK = wire.message(wire.CONNECTOK, META)
FAIL_MARSHAL = wire.message(wire.CONNECTFAIL, b"\xfa\x0fno free workers", serializer=wire.MARSHAL)
SERVERTYPE = wire.message(wire.RESULT, b"# serpent utf-8 python3.2\n'Servertype: thread'", seq=1)
HANGS, CLOSES = "hangs", "closes"


def result(**fields):
    return wire.message(wire.RESULT, b"# serpent utf-8 python3.2\n1", **{"seq": 2, **fields})


BROKEN = {
    "closes_at_once": (CLOSES, None, ("Closed", "Connect"), ""),
    "never_answers": (HANGS, None, ("Timeout", "Connect"), ""),
    "not_pyro": (b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(40), None, ("Protocol",), ""),
    "other_version": (wire.message(wire.CONNECTOK, META, version=501), None, ("Protocol",), "501"),
    "refuses_in_marshal": (FAIL_MARSHAL, None, ("Refused",), "no free workers"),
    "garbage_metadata": (wire.message(wire.CONNECTOK, b"nonsense"), None, ("Protocol", "Serialize"), ""),
    "wrong_type": (wire.message(wire.PING, b"pong"), None, ("Protocol",), ""),
    "wrong_sequence": (OK, result(seq=77), ("Protocol",), "77"),
    "wrong_serializer": (OK, result(serializer=wire.JSON), ("Protocol", "Serialize"), ""),
    "wrong_reply_type": (OK, wire.message(wire.PING, b"pong", seq=2), ("Protocol",), ""),
    "garbage_result": (OK, wire.message(wire.RESULT, b"nonsense", seq=2), ("Serialize", "Protocol"), ""),
    "closes_in_the_call": (OK, CLOSES, ("Closed",), ""),
    "hangs_in_the_call": (OK, HANGS, ("Timeout",), ""),
    "half_a_result": (OK, result()[:50], ("Timeout", "Closed"), ""),
    "large_result": (OK, result(size=0x7FFFFFFF), ("Protocol",), "2147483647"),
    "stream": (
        OK,
        wire.message(
            wire.RESULT,
            b"# serpent utf-8 python3.2\n{'__class__':'Pyro5.errors.ProtocolError','__exception__':True,"
            b"'args':('result of call is an iterator',),'attributes':{'_pyroTraceback':None}}",
            seq=2,
            flags=wire.STREAM | wire.EXCEPTION,
        ),
        ("Usage",),
        "not configured to allow streaming",
    ),
}


@pytest.fixture
def play(request):
    """Listens, and plays one peer for every connection that comes; returns the URI."""
    import socket

    listener = socket.create_server(("localhost", 0))
    stop = threading.Event()

    def serve(connection, script):
        with connection:
            for answer in script:
                header = b""
                while len(header) < 40:
                    part = connection.recv(40 - len(header))
                    if not part:
                        return
                    header += part
                size = wire.HEADER.unpack(header)
                rest = size[6] + size[7]
                while rest:
                    rest -= len(connection.recv(rest))
                if answer == CLOSES or answer is None:
                    return
                if answer == HANGS:
                    break
                connection.sendall(answer)
            stop.wait(20)

    def accept(script):
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection, script), daemon=True).start()

    def play(*script):
        threading.Thread(target=accept, args=(script,), daemon=True).start()
        return f"PYRO:values@localhost:{listener.getsockname()[1]}"

    yield play
    stop.set()
    listener.close()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_peer_is_a_clear_error_in_time(play, client, name):
    connect, invoke, kinds, text = BROKEN[name]
    uri = play(connect, SERVERTYPE, invoke) if invoke else play(connect)
    client.run("broken-peer", uri, ",".join(kinds), text)


def test_nobody_listens(client):
    client.run("nobody-listens", "PYRO:calc@localhost:1")
