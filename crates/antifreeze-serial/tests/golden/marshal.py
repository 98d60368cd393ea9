"""Captures what CPython's marshal makes of a table of values, in all versions of the format.

Run with CPython 3.11:

    python marshal.py > marshal-3.11.txt

The output is a Python literal: a list of (name, literal, [bytes]), with bytes for each version that
does not write the same as one before it. Sets have one element at most, since they keep no order. Of
version 5, which CPython 3.14 added, only slices are new.
"""
import os
import sys

# The directory of this script comes first, and would hide the module.
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
import marshal


def fresh(text):
    """A str that is not interned."""
    return "".join(list(text))


def shared():
    text, long, data = fresh("repeated"), fresh("x" * 300), bytes(5)
    point = (text, [1.5, long])
    whole = {"point": point, "again": [point, point, data], text: (text, data, 2**70)}
    return [whole, whole, {point[0]: whole["again"]}]


SAME = fresh("same")
TUPLE = (SAME, 1000000)
FROZEN = frozenset({(1, TUPLE)})
VALUES = [
    ("none", None), ("true", True), ("false", False), ("ellipsis", ...),
    *((f"int {value}", value) for value in (0, 1, -1, 2**15, 2**31 - 1, -2**31, 2**31, -2**31 - 1)),
    *((f"int {value}", value) for value in (2**60 - 1, 2**60, 2**63 - 1, -2**63, 2**63, 2**64 - 1)),
    *((f"int {value}", value) for value in (2**64, -2**64, 2**75, -2**75 + 1, 10**40, -10**40)),
    ("int of 4000 digits", 7**4733), ("minus int of 4000 digits", -7**4733),
    *((f"float {value}", value) for value in (0.0, -0.0, 1.0, 1.5, 1 / 3, 1e22, 1e-7, 5e-324)),
    *((f"float {value}", value) for value in (1.7976931348623157e308, *map(float, ("inf", "-inf", "nan")))),
    ("complex", 1 + 2j), ("complex negative", -1.5 - 2.25j), ("imaginary", 3j),
    ("complex inf", complex(1, float("inf"))), ("complex nan", complex(float("nan"), 1)),
    ("empty str", ""), ("interned", sys.intern("hello")), ("str", fresh("hello world")),
    ("255 chars", fresh("x" * 255)), ("256 chars", fresh("x" * 256)),
    ("256 interned chars", sys.intern("y" * 256)), ("interned latin", sys.intern("h\xe9llo")),
    ("latin", fresh("h\xe9llo")), ("emoji", fresh("\U0001f600")), ("nul", fresh("a\0b")),
    ("surrogate", fresh("a\ud800b")), ("surrogate pair", "\ud83d" + "\ude00"),
    ("empty bytes", b""), ("bytes", bytes([0, 1, 97, 255])),
    ("empty tuple", ()), ("tuple", (1, "a", None)), ("255 items", (1,) * 255), ("256 items", (1,) * 256),
    ("empty list", []), ("list", [1, [2, [3]]]), ("list of names", ["name"] * 5),
    ("empty set", set()), ("set", {1}), ("set of str", {"a"}), ("set of tuple", {(1, 2)}),
    ("empty frozenset", frozenset()), ("frozenset", frozenset({1})), ("frozen twice", [FROZEN, FROZEN]),
    ("empty dict", {}), ("dict", {"a": 1, "b": [2]}), ("int keys", {1: "a", -2: "b"}),
    ("none key", {None: None}), ("tuple key", {(1, "a"): 2}), ("frozenset key", {frozenset({1}): 2}),
    ("bytes key", {b"k": 1}), ("float key", {1.5: 1}), ("bool keys", {True: 1, False: 2}),
    ("same twice", [SAME, SAME]), ("tuple twice", [TUPLE, {"k": TUPLE}]), ("shared", shared()),
    ("references in references", [[TUPLE, SAME]] * 3),
    ("call", ("obj", "meth", [1, "x", SAME, SAME], {"k": SAME, "l": TUPLE})),
]

print("[")
for name, value in VALUES:
    versions = list(dict.fromkeys(marshal.dumps(value, version) for version in range(5)))
    for data in versions:
        assert repr(marshal.loads(data)) == repr(value), name
    row = (name, repr(value).replace("Ellipsis", "..."), versions)
    print(f"  {row!r},")
print("]")
