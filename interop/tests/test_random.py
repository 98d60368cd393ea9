"""Random values, each compared with what Pyro5's own serializers make of it: those that Python sends and
gets back, and those that Rust makes.

`FULL_TESTS=1` takes 100,000 of either.
"""

import datetime
import math
import os
import random
import struct

import pytest
from Pyro5.serializers import serializers
from table import alike

CALLS = 250 if os.environ.get("FULL_TESTS") == "1" else 8
VALUES_A_CALL = 100


class Maker:
    """Makes values that Pyro5 itself can send by a serializer, and read again."""

    def __init__(self, by, seed, literal=False):
        self.by = by
        #: Only values of which `repr` says all.
        self.literal = literal
        self.chance = random.Random(f"{by} {seed}")

    def value(self, depth=0):
        chance = self.chance
        kind = chance.choice(["scalar", "scalar", "list", "tuple", "set", "frozenset", "dict"])
        if depth == 4 or kind == "scalar":
            return self.scalar()
        size = chance.choice([0, 1, 2, 3, 5, 20 if depth == 0 else 4])
        if kind == "list":
            return [self.value(depth + 1) for _ in range(size)]
        if kind == "tuple":
            return tuple(self.value(depth + 1) for _ in range(size))
        if kind == "dict":
            return {self.key(): self.value(depth + 1) for _ in range(size)}
        if kind == "frozenset" and self.by in ("serpent", "marshal") and not self.literal:
            return frozenset(self.hashable() for _ in range(size))
        return {self.hashable() for _ in range(size)}

    def scalar(self):
        makers = [self.none, self.bool, self.int, self.int, self.float, self.text, self.text]
        if self.by != "json":
            makers += [self.complex, self.bytes]
        if self.by == "msgpack" and not self.literal:
            makers += [self.datetime, self.date]
        return self.chance.choice(makers)()

    def hashable(self, depth=0):
        makers = [self.int, self.finite, self.text, self.bool]
        if self.by in ("marshal", "msgpack"):
            makers += [self.none, self.bytes]
        if depth == 0 and self.by in ("serpent", "marshal"):
            makers.append(lambda: tuple(self.hashable(1) for _ in range(self.chance.randrange(3))))
        return self.chance.choice(makers)()

    def key(self):
        if self.by == "msgpack":
            return self.chance.choice([self.text, self.bytes])()
        if self.by == "json":
            return self.chance.choice([self.text, self.text, self.int, self.bool, self.none, self.finite])()
        return self.hashable()

    def none(self):
        return None

    def bool(self):
        return self.chance.random() < 0.5

    def int(self):
        bits = self.chance.choice([1, 7, 8, 15, 16, 31, 32, 63, 64, 65, 100, 2000])
        value = self.chance.getrandbits(bits) + self.chance.choice([-1, 0, 1])
        return -value if self.bool() else value

    def float(self):
        value = struct.unpack("d", self.chance.randbytes(8))[0]
        return value if math.isfinite(value) or not self.literal and self.bool() else self.finite()

    def finite(self):
        value = self.chance.choice([self.chance.random(), self.chance.randrange(100), 1 / 3])
        return value * 10.0 ** self.chance.randrange(-30, 30)

    def complex(self):
        # A nan is what Pyro5 itself cannot read again by serpent.
        return complex(self.finite(), -self.finite())

    def text(self):
        size = self.chance.choice([0, 1, 3, 10, 31, 32, 40, 255, 256, 300])
        alphabet = self.chance.choice(["ascii", "quotes", "latin", "any"])
        return "".join(self.character(alphabet) for _ in range(size))

    def character(self, alphabet):
        if alphabet == "ascii":
            return chr(self.chance.randrange(32, 127))
        if alphabet == "quotes":
            return self.chance.choice("'\"\\\n\r\t\0\x7f\x01 {}[]()#")
        if alphabet == "latin":
            return chr(self.chance.randrange(256))
        code = self.chance.choice([self.chance.randrange(0x3000), self.chance.randrange(0x110000)])
        if 0xD800 <= code < 0xE000 and self.by in ("json", "msgpack"):
            code = 0x20AC
        return chr(code)

    def bytes(self):
        return self.chance.randbytes(self.chance.choice([0, 1, 2, 3, 31, 32, 255, 256]))

    def datetime(self):
        return datetime.datetime(1971, 1, 2) + datetime.timedelta(seconds=self.chance.random() * 3e9)

    def date(self):
        return datetime.date.fromordinal(self.chance.randrange(1, 3652060))


def check(found, expected, values):
    for value, ours, theirs in zip(values, found, expected):
        assert alike(ours, theirs), f"{value!r} came as {ours!r}, not as {theirs!r}"
    assert len(found) == len(values)


@pytest.mark.timeout(600)
@pytest.mark.against("antifreeze")
def test_what_comes_back_is_what_pyro5_would_send_back(server, serializer):
    python = serializers[serializer]
    with server.proxy("values", serializer) as proxy:
        for call in range(CALLS):
            maker = Maker(serializer, call)
            values = [maker.value() for _ in range(VALUES_A_CALL)]
            read = python.loads(python.dumps(values))
            check(proxy.echo(values), python.loads(python.dumps(read)), values)


@pytest.mark.timeout(600)
@pytest.mark.against("antifreeze")
def test_what_rust_makes_arrives_as_what_python_makes(server, serializer):
    python = serializers[serializer]
    with server.proxy("values", serializer) as proxy:
        for call in range(CALLS):
            maker = Maker(serializer, call, literal=True)
            values = [maker.value() for _ in range(VALUES_A_CALL)]
            check(proxy.literal(repr(values)), python.loads(python.dumps(values)), values)
