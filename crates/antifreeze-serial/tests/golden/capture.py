"""Captures what Pyro5's own serializers make of a table of values.

Run with Pyro5 5.17, serpent 1.43 and msgpack 1.1 on CPython 3.11:

    python capture.py > pyro5-5.17.txt

The output is a Python literal: a list of (name, literal, {serializer: (bytes, back)}).
`literal` is the value as one would type it, or '' where no literal says it.
`back` is repr() of what the same serializer decodes from its own bytes, or '' where it cannot.
A serializer that refuses the value is missing. Sets have one element at most, since they keep
no order.
"""
import ast

import Pyro5.client
import Pyro5.core
import Pyro5.errors
import Pyro5.server
from Pyro5.serializers import serializers


def exception(cls, *args, **attributes):
    ex = cls(*args)
    for name, value in attributes.items():
        setattr(ex, name, value)
    return ex


proxy = Pyro5.client.Proxy("PYRO:obj@localhost:4444")
proxy._pyroOneway = {"o"}

VALUES = [
    ("none", None), ("true", True), ("false", False),
    ("zero", 0), ("one", 1), ("minus one", -1), ("127", 127), ("128", 128), ("255", 255),
    ("256", 256), ("65535", 65535), ("65536", 65536), ("-32", -32), ("-33", -33), ("-128", -128),
    ("-129", -129), ("-32769", -32769), ("2^31", 2**31), ("-2^31", -2**31), ("-2^31-1", -2**31 - 1),
    ("2^32", 2**32), ("i64 max", 2**63 - 1), ("i64 min", -2**63), ("2^63", 2**63),
    ("u64 max", 2**64 - 1), ("2^64", 2**64), ("-2^63-1", -2**63 - 1), ("10^40", 10**40),
    ("-10^40", -10**40),
    ("0.0", 0.0), ("-0.0", -0.0), ("1.0", 1.0), ("1.5", 1.5), ("1e22", 1e22), ("1e16", 1e16),
    ("1e15", 1e15), ("1e-7", 1e-7), ("0.0001", 0.0001), ("0.00001", 0.00001), ("1/3", 1 / 3),
    ("5e-324", 5e-324), ("max", 1.7976931348623157e308),
    ("inf", float("inf")), ("-inf", float("-inf")), ("nan", float("nan")),
    ("empty str", ""), ("str", "hello"), ("single quote", "it's"), ("double quote", 'say "x"'),
    ("both quotes", "it's \"x\""), ("backslash", "a\\b"), ("controls", "\t\n\r\x00\x01\x1f\x7f"),
    ("latin", "h\xe9llo"), ("c1", "\x80\x9f\xa0\xad\xff"), ("emoji", "\U0001f600"),
    ("cjk", "\u4f60\u597d"), ("surrogate", "a\ud800b"), ("surrogate pair", "\ud83d\ude00"),
    ("31 chars", "x" * 31), ("32 chars", "x" * 32), ("256 chars", "x" * 256),
    ("empty bytes", b""), ("bytes", b"\x00\x01abc\xff"), ("bytes quotes", b"'\"\\"),
    ("empty tuple", ()), ("one tuple", (1,)), ("tuple", (1, "a")), ("nested tuple", ((), (1,), ((2, 3),))),
    ("empty list", []), ("list", [1, [2, [3]]]), ("15 items", list(range(15))), ("16 items", list(range(16))),
    ("empty set", set()), ("set", {1}), ("set of str", {"a"}), ("set of tuple", {(1, 2)}),
    ("frozenset", frozenset({1})),
    ("empty dict", {}), ("dict", {"a": 1, "b": [2]}), ("int keys", {1: "a", -2: "b"}),
    ("float keys", {1.5: 1}), ("bool keys", {True: 1, False: 2}), ("none key", {None: 1}),
    ("tuple key", {(1, "a"): 2}), ("bytes key", {b"k": 1}),
    ("complex", 1 + 2j), ("complex negative", -1.5 - 2.25j), ("imaginary", 3j),
    ("complex inf", complex(1, float("inf"))), ("complex nan", complex(float("nan"), 1)),
    ("uri", Pyro5.core.URI("PYRO:obj@localhost:4444")),
    ("uri unix", Pyro5.core.URI("PYRO:obj@./u:/tmp/x")),
    ("uri name", Pyro5.core.URI("PYRONAME:some.name")),
    ("uri meta", Pyro5.core.URI("PYROMETA:tag@localhost:4444")),
    ("proxy", proxy),
    ("daemon", Pyro5.server.Daemon.__new__(Pyro5.server.Daemon)),
    ("exception", exception(ValueError, "boom", 3, _pyroTraceback=["line\n"], extra={"k": (1, 2)})),
    ("exception bare", KeyError()),
    ("pyro exception", exception(Pyro5.errors.NamingError, "unknown name: x")),
    ("os error", exception(OSError, 35, "text", antifreeze={"a": 1})),
    ("wrapper", Pyro5.core._ExceptionWrapper(exception(ValueError, "boom"))),
    ("exceptions in a list", [ValueError("a"), {"k": TypeError("b")}]),
]
PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, list, set, frozenset, dict, BaseException)

rows = []
for name, value in VALUES:
    literal = repr(value)
    try:
        if repr(ast.literal_eval(literal)) != literal:
            literal = ""
    except Exception:
        literal = ""
    out = {}
    for key, serializer in serializers.items():
        try:
            data = serializer.dumps(value)
        except Exception:
            continue
        try:
            back = serializer.loads(data)
            back = repr(back) if isinstance(back, PLAIN) else ""
        except Exception:
            back = ""
        out[key] = (data, back)
    rows.append((name, literal, out))
for key in serializers:
    data = serializers[key].dumpsCall("obj", "meth", (1, "x"), {"k": 2})
    rows.append(("call", "", {key: (data, "")}))
print("[")
for row in rows:
    print(f"  {row!r},")
print("]")
