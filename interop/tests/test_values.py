"""Every kind of value through `echo`: what comes back has the type that Pyro5 gives it."""

import collections
import datetime
import decimal
import math
import uuid

import Pyro5.api
import Pyro5.errors
import pytest

NAN = object()
REFUSED = object()  # the Python client itself cannot encode it
NAIVE = datetime.datetime(2020, 1, 2, 3, 4, 5, 6)
AWARE = NAIVE.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
BASE64 = {"data": "AP9hYmM=", "encoding": "base64"}
MIXED = [1, "x", None, True, 1.5, [], {}, {"k": [{"d": [None]}]}]
SAME = "same"

# name: (value, what comes back by serpent, by json, by msgpack, by marshal)
VALUES = {
    "none": (None, SAME, SAME, SAME, SAME),
    "true": (True, SAME, SAME, SAME, SAME),
    "false": (False, SAME, SAME, SAME, SAME),
    "zero": (0, SAME, SAME, SAME, SAME),
    "negative": (-1, SAME, SAME, SAME, SAME),
    "i64_max": (2**63 - 1, SAME, SAME, SAME, SAME),
    "i64_min": (-(2**63), SAME, SAME, SAME, SAME),
    "u64_max": (2**64 - 1, SAME, SAME, SAME, SAME),
    "above_u64": (2**64, SAME, SAME, SAME, SAME),
    "below_i64": (-(2**63) - 1, SAME, SAME, SAME, SAME),
    "big": (3**500, SAME, SAME, SAME, SAME),
    "big_negative": (-(7**1000), SAME, SAME, SAME, SAME),
    "digits_4300": (10**4299, SAME, SAME, SAME, SAME),
    "digits_5000": (10**4999, REFUSED, REFUSED, REFUSED, SAME),
    "float": (1.5, SAME, SAME, SAME, SAME),
    "whole_float": (1.0, SAME, SAME, SAME, SAME),
    "minus_zero": (-0.0, SAME, SAME, SAME, SAME),
    "large_float": (1e22, SAME, SAME, SAME, SAME),
    "small_float": (1e-07, SAME, SAME, SAME, SAME),
    "max_float": (1.7976931348623157e308, SAME, SAME, SAME, SAME),
    "min_float": (5e-324, SAME, SAME, SAME, SAME),
    "third": (1 / 3, SAME, SAME, SAME, SAME),
    "inf": (math.inf, SAME, SAME, SAME, SAME),
    "minus_inf": (-math.inf, SAME, SAME, SAME, SAME),
    "nan": (math.nan, NAN, NAN, NAN, NAN),
    "empty_text": ("", SAME, SAME, SAME, SAME),
    "text": ("hello", SAME, SAME, SAME, SAME),
    "quotes": ("it's \"both\" \\ kinds", SAME, SAME, SAME, SAME),
    "apostrophe": ("it's", SAME, SAME, SAME, SAME),
    "controls": ("".join(map(chr, range(32))) + "\x7f\x85\xa0\u2028", SAME, SAME, SAME, SAME),
    "unicode": ("gr\u00fc\u00df \u65e5\u672c \U0001f600", SAME, SAME, SAME, SAME),
    "nul": ("a\0b", SAME, SAME, SAME, SAME),
    "surrogate": ("\ud800x", SAME, REFUSED, REFUSED, SAME),
    "bytes": (b"\x00\xffabc", BASE64, REFUSED, SAME, SAME),
    "bytearray": (bytearray(b"\x00\xffabc"), BASE64, REFUSED, b"\x00\xffabc", b"\x00\xffabc"),
    "memoryview": (memoryview(b"\x00\xffabc"), BASE64, REFUSED, b"\x00\xffabc", REFUSED),
    "empty_tuple": ((), SAME, [], [], SAME),
    "tuple_of_one": ((1,), SAME, [1], [1], SAME),
    "tuple": ((1, "x"), SAME, [1, "x"], [1, "x"], SAME),
    "empty_list": ([], SAME, SAME, SAME, SAME),
    "list": ([1, "x", None], SAME, SAME, SAME, SAME),
    "set": ({1}, SAME, [1], [1], SAME),
    "set_of_text": ({"a", "b"}, SAME, None, None, SAME),
    "empty_set": (set(), (), [], [], SAME),
    "frozenset": (frozenset({1}), {1}, REFUSED, REFUSED, SAME),
    "empty_dict": ({}, SAME, SAME, SAME, SAME),
    "dict": ({"a": 1, "b": {"c": []}}, SAME, SAME, SAME, SAME),
    "dict_like_bytes": (BASE64, SAME, SAME, SAME, SAME),
    "int_keys": ({1: "x"}, SAME, {"1": "x"}, None, SAME),
    "bool_keys": ({True: "x"}, SAME, {"true": "x"}, None, SAME),
    "float_keys": ({1.5: "x"}, SAME, {"1.5": "x"}, None, SAME),
    "tuple_keys": ({(1, "a"): "x"}, SAME, REFUSED, None, SAME),
    "none_keys": ({None: "x"}, REFUSED, {"null": "x"}, None, SAME),
    "complex": (1 + 2j, SAME, REFUSED, SAME, SAME),
    "datetime": (NAIVE, NAIVE.isoformat(), NAIVE.isoformat(), SAME, REFUSED),
    "aware_datetime": (AWARE, AWARE.isoformat(), AWARE.isoformat(), REFUSED, REFUSED),
    "date": (NAIVE.date(), "2020-01-02", "2020-01-02", SAME, REFUSED),
    "time": (NAIVE.time(), "03:04:05.000006", REFUSED, REFUSED, REFUSED),
    "timedelta": (datetime.timedelta(seconds=1.5), 1.5, REFUSED, REFUSED, REFUSED),
    "decimal": (decimal.Decimal("1.10"), "1.10", "1.10", "1.10", REFUSED),
    "uuid": (ID, str(ID), str(ID), str(ID), str(ID)),
    "deque": (collections.deque([1, 2]), [1, 2], REFUSED, REFUSED, REFUSED),
    "mixed": (MIXED, SAME, SAME, SAME, SAME),
    "uri": (Pyro5.api.URI("PYRO:id@host:55"), SAME, SAME, SAME, SAME),
    "uri_v6": (Pyro5.api.URI("PYRO:id@[::1]:55"), SAME, SAME, SAME, SAME),
    "uri_unix": (Pyro5.api.URI("PYRO:id@./u:/tmp/x"), SAME, SAME, SAME, SAME),
    "nested_uri": ([Pyro5.api.URI("PYRO:id@host:55")], SAME, SAME, SAME, REFUSED),
    "exception": (ValueError("an argument", 1), NAN, NAN, NAN, NAN),
}
CASES = [
    (name, serializer, value, expected[i])
    for name, (value, *expected) in VALUES.items()
    for i, serializer in enumerate(("serpent", "json", "msgpack", "marshal"))
    if expected[i] is not None
]


def same(a, b):
    """Equality that also asks for the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


@pytest.mark.parametrize(
    "name, by, value, expected", CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES]
)
def test_echo_gives_back_what_pyro5_would(server, name, by, value, expected):
    with server.proxy("values", by) as proxy:
        if expected is REFUSED:
            with pytest.raises((TypeError, ValueError, Pyro5.errors.SerializeError)):
                proxy.echo(value)
            assert proxy.echo(1) == 1
            return
        back = proxy.echo(value)
        if isinstance(value, Exception):
            assert type(back) is type(value) and back.args == value.args
        elif expected is NAN:
            assert type(back) is float and math.isnan(back)
        else:
            assert same(back, value if expected is SAME else expected), repr(back)


SEEN = {
    "int": (5, "int 5", "int 5", "int 5", "int 5"),
    "big": (2**70, f"int {2**70}", f"int {2**70}", f"int {2**70}", f"int {2**70}"),
    "float": (1.5, "float 1.5", "float 1.5", "float 1.5", "float 1.5"),
    "whole_float": (2.0, "float 2.0", "float 2.0", "float 2.0", "float 2.0"),
    "text": ("\u00fc\n\U0001f600", *['str "\\u00fc\\n\\ud83d\\ude00"'] * 4),
    "bytes": (b"\x01\xff", '{str "data": str "Af8=", str "encoding": str "base64"}', REFUSED, "bytes 01ff", "bytes 01ff"),
    "tuple": ((1, ("x",)), '(int 1, (str "x"))', '[int 1, [str "x"]]', '[int 1, [str "x"]]', '(int 1, (str "x"))'),
    "set": ({2, 1}, "set {int 1, int 2}", "[int 1, int 2]", "[int 1, int 2]", "set {int 1, int 2}"),
    "dict": ({"b": None, "a": True}, *['{str "a": True, str "b": None}'] * 4),
    "int_keys": ({1: 2}, "{int 1: int 2}", '{str "1": int 2}', None, "{int 1: int 2}"),
    "complex": (1 - 2j, "complex 1.0 -2.0", REFUSED, "complex 1.0 -2.0", "complex 1.0 -2.0"),
}
SEEN_CASES = [
    (name, serializer, value, expected[i])
    for name, (value, *expected) in SEEN.items()
    for i, serializer in enumerate(("serpent", "json", "msgpack", "marshal"))
    if expected[i] not in (None, REFUSED)
]


@pytest.mark.parametrize(
    "name, by, value, expected", SEEN_CASES, ids=[f"{case[0]}-{case[1]}" for case in SEEN_CASES]
)
def test_the_server_sees_the_right_types(server, name, by, value, expected):
    with server.proxy("values", by) as proxy:
        assert proxy.describe(value) == expected


@pytest.mark.against("antifreeze")  # but for msgpack, Python's server sees text
def test_times_and_dates_are_types_of_their_own(server, serializer):
    with server.proxy("values", serializer) as proxy:
        if serializer == "msgpack":
            assert proxy.later(NAIVE, 1.5) == NAIVE + datetime.timedelta(seconds=1.5)
            assert proxy.next_day(datetime.date(2020, 2, 28)) == datetime.date(2020, 2, 29)
            return
        # Pyro5 marshals no dates, but text is carried by all.
        came = datetime.datetime.fromisoformat(proxy.later(AWARE.isoformat(), 1.5))
        assert came == AWARE + datetime.timedelta(seconds=1.5)
        assert proxy.next_day("2020-02-28") == "2020-02-29"
        with pytest.raises(ValueError, match="with its offset from UTC"):
            proxy.later(NAIVE.isoformat(), 1.5)


@pytest.mark.parametrize("depth", [1, 10, 100, 190])
def test_deep_nesting_within_the_limit(server, serializer, depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    with server.proxy("values", serializer) as proxy:
        assert proxy.echo(value) == value
        assert proxy.nested(depth) == value


@pytest.mark.against("antifreeze")  # Pyro5 answers with its RecursionError for some serializers
def test_a_result_nested_too_deeply_is_an_error_and_the_connection_stays(server, serializer):
    with server.proxy("values", serializer) as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        with pytest.raises((TypeError, ValueError)):
            proxy.nested(5000)
        assert proxy.echo("still there") == "still there"
        assert proxy._pyroConnection is connection


SIZE = 64 * 1024 * 1024


@pytest.mark.parametrize("by, kind", [("serpent", "bytes"), ("marshal", "bytes"), ("json", "str"), ("msgpack", "bytes")])
def test_64_mebibytes_in_each_direction(server, by, kind):
    with server.proxy("values", by, timeout=50) as proxy:
        sent = b"y" * SIZE if kind == "bytes" else "y" * SIZE
        # Over serpent bytes arrive as a dict of two, whatever their length.
        assert proxy.length(sent) == (2 if by == "serpent" else SIZE)
        back = proxy.filled(kind, SIZE)
        if by == "serpent":
            assert back["encoding"] == "base64" and len(back["data"]) == (SIZE + 2) // 3 * 4
        else:
            assert len(back) == SIZE and back[:1] == back[-1:] == (b"x" if kind == "bytes" else "x")


def test_a_proxy_is_a_value_too(server, serializer):
    with server.proxy("values", serializer) as proxy:
        back = proxy.echo(server.proxy("calc"))
        assert isinstance(back, Pyro5.api.Proxy)
        with back:
            assert back.add(1, 2) == 3


def test_an_unregistered_class_arrives_as_data_or_is_refused(server):
    with server.proxy("values", "json") as proxy:
        with pytest.raises((Pyro5.errors.SerializeError, Pyro5.errors.SecurityError)):
            proxy.echo({"__class__": "no.such.Class", "x": 1})
    with server.proxy("values", "json") as proxy:
        assert proxy.echo(1) == 1


@pytest.mark.parametrize("name", ["__main__.X", "os.__dict__"])
def test_double_underscore_classes_are_refused(server, serializer, name):
    with server.proxy("values", serializer) as proxy:
        with pytest.raises(Pyro5.errors.SecurityError):
            proxy.echo({"__class__": name})
