"""The Rust client against Pyro5's servers, and against our own.

Most scenarios check everything by themselves; see `interop-client`. Values travel as Python
literals, so that the tables can stand here.
"""

import ast
import math
import threading

import pytest
import wire

SERVERS = ("pyro5-thread", "pyro5-multiplex", "antifreeze")
pytestmark = pytest.mark.against(*SERVERS)


SAME = "same"
TEXT = "gr\u00fc\u00df 'dich' \"\u65e5\u672c\" \0\n \U0001f600"
REFUSED = object()
B64 = {"data": "AP8=", "encoding": "base64"}

# Sent by Rust: the value, and what comes back by serpent, json, msgpack.
ECHOED = [
    (None, SAME, SAME, SAME),
    (True, SAME, SAME, SAME),
    (0, SAME, SAME, SAME),
    (-1, SAME, SAME, SAME),
    (2**63 - 1, SAME, SAME, SAME),
    (-(2**63), SAME, SAME, SAME),
    (2**63, SAME, SAME, SAME),
    (2**64 - 1, SAME, SAME, SAME),
    (2**64, SAME, SAME, SAME),
    (-(2**63) - 1, SAME, SAME, SAME),
    (3**500, SAME, SAME, SAME),
    (-(7**1000), SAME, SAME, SAME),
    (1.5, SAME, SAME, SAME),
    (1.0, SAME, SAME, SAME),
    (1e22, SAME, SAME, SAME),
    (1e-07, SAME, SAME, SAME),
    (-0.0, SAME, SAME, SAME),
    (1.7976931348623157e308, SAME, SAME, SAME),
    (5e-324, SAME, SAME, SAME),
    (1 / 3, SAME, SAME, SAME),
    ("", SAME, SAME, SAME),
    (TEXT, SAME, SAME, SAME),
    ("".join(map(chr, range(32))) + "\x7f\x85\xa0\u2028", SAME, SAME, SAME),
    ([], SAME, SAME, SAME),
    ([1, "x", None, [2.5]], SAME, SAME, SAME),
    ((), SAME, [], []),
    ((1,), SAME, [1], [1]),
    ((1, ("x",)), SAME, [1, ["x"]], [1, ["x"]]),
    ({}, SAME, SAME, SAME),
    ({"a": 1, "b": {"c": [None]}}, SAME, SAME, SAME),
    ({1: "x"}, SAME, {"1": "x"}, None),
    ({(1, "a"): "x"}, SAME, None, None),
    ({1}, SAME, [1], [1]),
    (1 + 2j, SAME, None, SAME),
    (b"\x00\xff", B64, None, SAME),
]
BY = ("serpent", "json", "msgpack", "marshal")


def typed(value):
    """The value with its types, so that 1, 1.0 and True differ, and -0.0 from 0.0."""
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [typed(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return ("set", sorted(map(repr, value)))
    if isinstance(value, dict):
        return ("dict", sorted((repr(k), typed(v)) for k, v in value.items()))
    return (type(value).__name__, repr(value))


def lines_of(output):
    """Split at line feeds only, for values may contain what `splitlines` takes for one."""
    assert output.endswith("\n")
    return output[:-1].split("\n")


def literal(line):
    return ast.literal_eval(line) if line != "set()" else set()


@pytest.mark.parametrize("column", range(4), ids=BY)
def test_values_come_back_as_pyro5_returns_them(server, any_client, column):
    rows = [(*row, SAME) for row in ECHOED]  # marshal carries everything as it is
    cases = [(row[0], row[1 + column]) for row in rows if row[1 + column] is not None]
    sent = [repr(value) for value, _ in cases]
    output = any_client.run("echo", server.uri("values"), "--serializer", BY[column], "--", *sent)
    lines = lines_of(output)
    assert len(lines) == len(cases)
    for (value, expected), line in zip(cases, lines):
        assert typed(literal(line)) == typed(value if expected is SAME else expected), value


def test_values_are_printed_as_python_prints_them(server, any_client):
    """`repr`, to the letter."""
    values = [value for value, by_serpent, *_ in ECHOED if by_serpent is SAME]
    arguments = ["--serializer", "serpent", "--", *map(repr, values)]
    assert lines_of(any_client.run("echo", server.uri("values"), *arguments)) == [*map(repr, values)]


# Sent by Rust: the value, and what Python sees by serpent, json, msgpack, marshal.
SEEN = [
    (5, *["int 5"] * 4),
    (2**70, *[f"int {2**70}"] * 4),
    (2.0, *["float 2.0"] * 4),
    ("\u00fc\n\U0001f600", *['str "\\u00fc\\n\\ud83d\\ude00"'] * 4),
    (b"\x01\xff", '{str "data": str "Af8=", str "encoding": str "base64"}', None, "bytes 01ff", "bytes 01ff"),
    ((1, ("x",)), '(int 1, (str "x"))', *['[int 1, [str "x"]]'] * 2, '(int 1, (str "x"))'),
    ({2, 1}, "set {int 1, int 2}", *["[int 1, int 2]"] * 2, "set {int 1, int 2}"),
    ({"b": None, "a": True}, *['{str "a": True, str "b": None}'] * 4),
    ({1: 2}, "{int 1: int 2}", '{str "1": int 2}', None, "{int 1: int 2}"),
    (1 - 2j, "complex 1.0 -2.0", None, *["complex 1.0 -2.0"] * 2),
    ([[], {}, None, False], *["[[], {}, None, False]"] * 4),
]


@pytest.mark.parametrize("column", range(4), ids=BY)
def test_python_sees_the_right_types(server, any_client, column):
    cases = [(row[0], row[1 + column]) for row in SEEN if row[1 + column] is not None]
    sent = [repr(value) for value, _ in cases]
    output = any_client.run("describe", server.uri("values"), "--serializer", BY[column], "--", *sent)
    assert lines_of(output) == [expected for _, expected in cases]


# Given by Python: the name, and what Rust prints for it by serpent, json, msgpack, marshal.
GIVEN = [
    ("none", *[None] * 4),
    ("true", *[True] * 4),
    ("int", *[-42] * 4),
    ("big", *[2**200] * 4),
    ("negative_big", *[-(2**64) - 1] * 4),
    ("float", *[1.5] * 4),
    ("text", *[TEXT] * 4),
    ("bytes", {"data": "AP8gYmluYXJ5", "encoding": "base64"}, REFUSED, *[b"\x00\xff binary"] * 2),
    ("list", *[[1, "two", None]] * 4),
    ("tuple", (1, 2.5, "x"), *[[1, 2.5, "x"]] * 2, (1, 2.5, "x")),
    ("set", {1, 2, 3}, *[[1, 2, 3]] * 2, {1, 2, 3}),
    ("empty_set", (), [], [], set()),
    ("dict", *[{"a": 1, "b": [True, {"c": None}]}] * 4),
    ("complex", 1 + 2j, REFUSED, 1 + 2j, 1 + 2j),
    (
        "nested",
        {"rows": [(1, "a"), (2, "b")], "meta": {"n": 2}},
        *[{"rows": [[1, "a"], [2, "b"]], "meta": {"n": 2}}] * 2,
        {"rows": [(1, "a"), (2, "b")], "meta": {"n": 2}},
    ),
]


@pytest.mark.parametrize("column", range(4), ids=BY)
def test_results_are_what_python_gave(server, any_client, column):
    cases = [(row[0], row[1 + column]) for row in GIVEN if row[1 + column] is not REFUSED]
    names = [name for name, _ in cases]
    output = any_client.run("give", server.uri("values"), "--serializer", BY[column], "--", *names)
    lines = lines_of(output)
    assert len(lines) == len(cases)
    for (name, expected), line in zip(cases, lines):
        found = literal(line)
        if name == "set" and isinstance(expected, list):
            found = sorted(found)
        assert typed(found) == typed(expected), name


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


def test_infinities_and_nan(server, any_client, serializer):
    output = any_client.run("give", server.uri("values"), "--serializer", serializer, "--", "inf", "nan")
    infinity, nan = output.split()
    assert infinity in ("inf", "1e309", "1e30000") and nan == "nan"
    assert math.isinf(float(infinity))
