"""What becomes of each kind of value on its way by each serializer: the rules of Pyro5 5.17, serpent 1.43
and msgpack, found by sending each value and looking at what arrives.

A row holds for both directions and both languages. Where Rust does other than Python, the row says so in
`sends` and `reads`.
"""

import array
import collections
import datetime
import decimal
import enum
import math
import uuid
from dataclasses import dataclass, field

from Pyro5.api import URI

SERIALIZERS = ("serpent", "marshal", "json", "msgpack")


class Outcome(enum.Enum):
    SAME = "it arrives as it was sent"
    REFUSED = "the sender cannot"
    LOST = "it is sent, but the receiver cannot read it"
    OTHER = "something of which there is no such value in Python"


SAME, REFUSED, LOST, OTHER = Outcome


@dataclass
class Row:
    """A value, and what arrives of it by each serializer, in the order of `SERIALIZERS`."""

    name: str
    value: object
    serpent: object = SAME
    marshal: object = SAME
    json: object = SAME
    msgpack: object = SAME
    #: What arrives of it by a serializer if Rust sends it, where that is not the same.
    sends: dict = field(default_factory=dict)
    #: What Rust reads by a serializer where Python cannot.
    reads: dict = field(default_factory=dict)
    #: Whether Rust can make it of what `repr` says.
    literal: bool = True

    def arrives(self, by, from_rust, at_rust):
        cell = getattr(self, by)
        if from_rust:
            cell = self.sends.get(by, cell)
        if at_rust and cell is LOST:
            cell = self.reads.get(by, cell)
        return self.value if cell is SAME else cell


class Colour(enum.Enum):
    RED = 3


class Unknown:
    """Of a class that no other program has heard of."""

    def __init__(self):
        self.x = 1


Unknown.__module__ = "elsewhere"

NAIVE = datetime.datetime(2020, 1, 2, 3, 4, 5, 6)
AWARE = NAIVE.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
DATA = b"\x00\xffabc"
BASE64 = {"data": "AP9hYmM=", "encoding": "base64"}
HALF_NAN = complex(math.nan, 1.0)
NO_JSON = dict(json=REFUSED)
# In what json and msgpack have no type for.
LISTS = lambda value: dict(json=value, msgpack=value)  # noqa: E731
ONLY_SERPENT = dict(marshal=REFUSED, json=REFUSED, msgpack=REFUSED)

ROWS = [
    Row("none", None),
    Row("true", True),
    Row("false", False),
    Row("zero", 0),
    Row("negative", -1),
    Row("i64 max", 2**63 - 1),
    Row("i64 min", -(2**63)),
    Row("beyond i64", 2**63),
    Row("u64 max", 2**64 - 1),
    # Beyond these msgpack has the extension type 0x31.
    Row("beyond u64", 2**64),
    Row("below i64", -(2**63) - 1),
    Row("big", 3**500),
    Row("big negative", -(7**1000)),
    Row("4300 digits", 10**4299),
    # Python refuses to write more as text, or to read them.
    Row("5000 digits", 10**4999, serpent=REFUSED, **LISTS(REFUSED), literal=False),
    Row("float", 1.5),
    Row("whole float", 1.0),
    Row("minus zero", -0.0),
    Row("large float", 1e22),
    Row("small float", 1e-07),
    Row("max float", 1.7976931348623157e308),
    Row("min float", 5e-324),
    Row("third", 1 / 3),
    Row("inf", math.inf),
    Row("minus inf", -math.inf),
    Row("nan", math.nan, literal=False),
    Row("empty text", ""),
    Row("text", "hello"),
    Row("both quotes", "it's \"both\" \\ kinds"),
    Row("apostrophe", "it's"),
    Row("controls", "".join(map(chr, range(32))) + "\x7f\x85\xa0\u2028"),
    Row("unicode", "gr\u00fc\u00df \u65e5\u672c \U0001f600"),
    Row("nul", "a\0b"),
    Row("lone surrogate", "\ud800x", **LISTS(REFUSED)),
    Row("bytes", DATA, serpent=BASE64, json=REFUSED),
    Row("bytearray", bytearray(DATA), serpent=BASE64, marshal=DATA, json=REFUSED, msgpack=DATA, literal=False),
    Row("memoryview", memoryview(DATA), serpent=BASE64, marshal=REFUSED, json=REFUSED, msgpack=DATA, literal=False),
    Row("empty tuple", (), **LISTS([])),
    Row("tuple of one", (1,), **LISTS([1])),
    Row("tuple", (1, ("x",)), **LISTS([1, ["x"]])),
    Row("empty list", []),
    Row("list", [1, "x", None, [2.5]]),
    Row("set", {1}, **LISTS([1])),
    Row("empty set", set(), serpent=(), **LISTS([])),
    Row("frozenset", frozenset({1}), serpent={1}, **LISTS(REFUSED), literal=False),
    Row("empty dict", {}),
    Row("dict", {"a": 1, "b": {"c": []}}),
    # Nothing tells it from bytes, so nobody converts it unasked.
    Row("dict like bytes", BASE64),
    # Python writes other keys than text and bytes by msgpack, and cannot read them.
    Row("int keys", {1: "x"}, json={"1": "x"}, msgpack=LOST, reads={"msgpack": SAME}),
    Row("bool keys", {True: "x"}, json={"true": "x"}, msgpack=LOST, reads={"msgpack": SAME}),
    Row("float keys", {1.5: "x"}, json={"1.5": "x"}, msgpack=LOST, reads={"msgpack": SAME}),
    Row(
        "none keys",
        {None: "x"},
        serpent=REFUSED,
        json={"null": "x"},
        msgpack=LOST,
        sends={"serpent": SAME},
        reads={"msgpack": SAME},
    ),
    # A tuple is a list then, also as a key.
    Row("tuple keys", {(1, "a"): "x"}, json=REFUSED, msgpack=LOST, reads={"msgpack": OTHER}),
    # Python's serpent makes a dict of the key; ours writes a literal, which Python reads.
    Row("bytes keys", {b"k": 1}, serpent=LOST, json=REFUSED, sends={"serpent": SAME}),
    Row("complex", 1 - 2j, **NO_JSON),
    # Python's serpent writes the dict of a class that it does not know.
    Row("complex of nan", HALF_NAN, serpent=LOST, **NO_JSON, reads={"serpent": SAME}, literal=False),
    Row("datetime", NAIVE, serpent=NAIVE.isoformat(), marshal=REFUSED, json=NAIVE.isoformat(), literal=False),
    Row(
        "aware datetime",
        AWARE,
        serpent=AWARE.isoformat(),
        marshal=REFUSED,
        json=AWARE.isoformat(),
        msgpack=REFUSED,
        literal=False,
    ),
    Row("date", NAIVE.date(), serpent="2020-01-02", marshal=REFUSED, json="2020-01-02", literal=False),
    Row("time", NAIVE.time(), serpent="03:04:05.000006", **ONLY_SERPENT, literal=False),
    Row("timedelta", datetime.timedelta(seconds=1.5), serpent=1.5, **ONLY_SERPENT, literal=False),
    Row("decimal", decimal.Decimal("1.10"), serpent="1.10", marshal=REFUSED, **LISTS("1.10"), literal=False),
    Row("uuid", ID, serpent=str(ID), marshal=str(ID), **LISTS(str(ID)), literal=False),
    Row("array", array.array("i", [1, 2]), serpent=[1, 2], marshal=[1, 2], **LISTS([1, 2]), literal=False),
    Row("array of text", array.array("u", "ab"), serpent="ab", marshal="ab", **LISTS("ab"), literal=False),
    Row("deque", collections.deque([1, 2]), serpent=[1, 2], **ONLY_SERPENT, literal=False),
    Row("keys of a dict", {"a": 1}.keys(), serpent=["a"], **ONLY_SERPENT, literal=False),
    Row(
        "ordered dict",
        collections.OrderedDict(a=1),
        serpent=LOST,
        marshal=REFUSED,
        **LISTS({"a": 1}),
        reads={"serpent": {"__class__": "collections.OrderedDict", "items": [("a", 1)]}},
        literal=False,
    ),
    Row("enum", Colour.RED, serpent=3, **ONLY_SERPENT, literal=False),
    # Python knows only classes that it was told of; for us it is data.
    Row(
        "object of an unknown class",
        Unknown(),
        serpent=LOST,
        marshal=LOST,
        **LISTS(LOST),
        reads={by: {"__class__": "elsewhere.Unknown", "x": 1} for by in SERIALIZERS},
        literal=False,
    ),
    Row("mixed", [1, "x", None, True, 1.5, [], {}, {"k": [{"d": [None]}]}]),
    Row("uri", URI("PYRO:id@host:55"), literal=False),
    Row("uri of IPv6", URI("PYRO:id@[::1]:55"), literal=False),
    Row("uri of a unix socket", URI("PYRO:id@./u:/tmp/x"), literal=False),
    Row("uri of a name", URI("PYRONAME:name@host:55"), literal=False),
    # Pyro5 marshals no objects that are not on top.
    Row("uri within", [URI("PYRO:id@host:55")], marshal=REFUSED, literal=False),
    Row("exception", ValueError("an argument", 1), literal=False),
]


def exception(name, said=True, **others):
    return {"__class__": name, "__exception__": said, "args": ["x"], "attributes": {"extra": 1}, **others}


# Dicts with a class: what they are when they have arrived, whatever the serializer. An exception is told by
# its full name.
CLASSES = [
    (exception("ValueError"), "builtins.ValueError"),
    (exception("builtins.ValueError"), "builtins.ValueError"),
    (exception("exceptions.ValueError"), "builtins.ValueError"),
    (exception("builtins.OSError"), "builtins.OSError"),
    (exception("builtins.GeneratorExit"), "builtins.GeneratorExit"),
    # The name alone is Pyro's.
    (exception("TimeoutError"), "Pyro5.errors.TimeoutError"),
    (exception("builtins.TimeoutError"), "builtins.TimeoutError"),
    (exception("NamingError"), "Pyro5.errors.NamingError"),
    (exception("Pyro5.errors.NamingError"), "Pyro5.errors.NamingError"),
    # These need not say that they are exceptions.
    (exception("Pyro5.errors.ProtocolError", False), "Pyro5.errors.ProtocolError"),
    (exception("struct.error", False), "struct.error"),
    (exception("sqlite3.OperationalError"), "sqlite3.OperationalError"),
    (exception("Pyro5.errors.NoSuchError"), REFUSED),
    (exception("builtins.NoSuchError"), REFUSED),
    (exception("builtins.print"), REFUSED),
    (exception("builtins.eval"), REFUSED),
    (exception("os.system"), REFUSED),
    (exception("elsewhere.Error"), REFUSED),
    (exception("__main__.ValueError"), REFUSED),
    (exception("builtins.__import__"), REFUSED),
    ({"__class__": "__main__.Point", "x": 1}, REFUSED),
    ({"__class__": "os.__dict__"}, REFUSED),
]


def alike(a, b):
    """Equality that also asks for the same types all the way down, and takes nan for nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b) or a != a and b != b
    if isinstance(a, complex):
        return alike(a.real, b.real) and alike(a.imag, b.imag)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(alike(k, l) and alike(v, w) for (k, v), (l, w) in zip(a.items(), b.items()))
    if isinstance(a, (set, frozenset)):
        return a == b and sorted(map(repr, a)) == sorted(map(repr, b))
    if isinstance(a, BaseException):
        return alike(a.args, b.args)
    return a == b
