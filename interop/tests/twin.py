"""The twin of `interop-server`: the same objects, served by Pyro5 itself.

Whatever a test expects of Antifreeze must also hold here, or say why it does not.
"""

import argparse
import ast
import builtins
import itertools
import json
import os
import socket
import sys
import threading
import time

import Pyro5.api
import Pyro5.errors
from Pyro5.api import Proxy, behavior, current_context, expose, oneway
from shop import Order


def describe(x):
    """The type and value of `x` in a form that both languages can write."""
    if x is None or isinstance(x, bool):
        return str(x)
    if isinstance(x, int):
        return f"int {x}"
    if isinstance(x, float):
        return f"float {x!r}"
    if isinstance(x, complex):
        return f"complex {x.real!r} {x.imag!r}"
    if isinstance(x, str):
        return "str " + json.dumps(x)
    if isinstance(x, (bytes, bytearray, memoryview)):
        return "bytes " + bytes(x).hex()
    if isinstance(x, list):
        return "[" + ", ".join(map(describe, x)) + "]"
    if isinstance(x, tuple):
        return "(" + ", ".join(map(describe, x)) + ")"
    if isinstance(x, (set, frozenset)):
        return "set {" + ", ".join(sorted(map(describe, x))) + "}"
    if isinstance(x, dict):
        return "{" + ", ".join(sorted(f"{describe(k)}: {describe(v)}" for k, v in x.items())) + "}"
    return f"{type(x).__module__}.{type(x).__name__}"


GIVEN = {
    "none": None,
    "true": True,
    "int": -42,
    "big": 2**200,
    "negative_big": -(2**64) - 1,
    "float": 1.5,
    "inf": float("inf"),
    "nan": float("nan"),
    "text": "gr\u00fc\u00df 'dich' \"\u65e5\u672c\" \0\n \U0001f600",
    "bytes": b"\x00\xff binary",
    "list": [1, "two", None],
    "tuple": (1, 2.5, "x"),
    "set": {1, 2, 3},
    "empty_set": set(),
    "dict": {"a": 1, "b": [True, {"c": None}]},
    "complex": 1 + 2j,
    "nested": {"rows": [(1, "a"), (2, "b")], "meta": {"n": 2}},
}


@expose
class Values:
    def echo(self, x):
        return x

    def describe(self, x):
        return describe(x)

    def length(self, x):
        return len(x)

    def give(self, name):
        return GIVEN[name]

    def literal(self, text):
        return ast.literal_eval(text)

    def filled(self, kind, size):
        return b"x" * size if kind == "bytes" else "x" * size

    def nested(self, depth):
        value = []
        for _ in range(depth - 1):
            value = [value]
        return value


@expose
class Shop:
    def add(self, order, item):
        order.items.append(item)
        return order

    def turn(self, orders):
        return orders[::-1]

    def pair(self, id):
        return [id, Order(id, ["x"])]

    def basket(self):
        return {"__class__": "shop.Basket", "size": 3}


@expose
class Calc:
    def add(self, a, b):
        return a + b

    def greet(self, name, greeting="hello", punctuation="!"):
        return f"{greeting} {name}{punctuation}"

    def total(self, *numbers):
        return sum(numbers)

    def settings(self, **settings):
        return sorted([k, v] for k, v in settings.items())

    def mixed(self, first, *others, **named):
        return [first, list(others), dict(named)]

    def optional(self, x=None):
        return "nothing" if x is None else x

    def half(self, x):
        return x / 2

    def nothing(self):
        return None

    def pair(self):
        return (1, "x")

    def new_name(self):
        return "renamed"

    # These two have typed parameters in Rust.
    def small(self, n):
        return n

    def text(self, s):
        return s


class Custom(Exception):
    pass


@expose
class Errors:
    def builtin(self, name, message):
        raise getattr(builtins, name)(message)

    def pyro(self, name, message):
        raise getattr(Pyro5.errors, name)(message)

    def arguments(self):
        raise KeyError("a", 2, None, [1.5])

    def no_arguments(self):
        raise ValueError()

    def attributes(self):
        error = ValueError("with attributes")
        error.code = 42
        error.details = {"a": [1, 2]}
        raise error

    def chain(self):
        try:
            int("x")
        except ValueError as cause:
            raise RuntimeError("cannot load settings") from cause

    def custom(self):
        raise Custom("it is custom")

    def os_error(self):
        open("/no/such/file")

    def forward(self, uri, method):
        with Proxy(uri) as proxy:
            proxy._pyroSerializer = "msgpack"
            return getattr(proxy, method)()


class Recorder:
    def __init__(self):
        self.entries = []
        self.changed = threading.Condition()

    def _append(self, x):
        with self.changed:
            self.entries.append(x)
            self.changed.notify_all()

    @expose
    @oneway
    def note(self, x):
        self._append(x)
        return "never seen"

    @expose
    def plain(self, x):
        self._append(x)
        return x

    @expose
    @oneway
    def fail(self):
        raise ValueError("nobody hears this")

    @expose
    def wait_for(self, count):
        """All entries, once there are `count`."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.entries) >= count, timeout=10)
            return list(self.entries)

    @expose
    def clear(self):
        with self.changed:
            self.entries.clear()


@expose
class Journal:
    def __init__(self):
        self._entries = []

    @oneway
    def note(self, x):
        self._entries.append(x)

    def plain(self, x):
        self._entries.append(x)

    def entries(self):
        return self._entries

    def clear(self):
        self._entries.clear()


class Attributes:
    def __init__(self):
        self._value = 1
        self.plain = "a plain attribute is never exposed"

    @expose
    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):
        self._value = value

    @expose
    @property
    def fixed(self):
        return "fixed"

    @expose
    @property
    def broken(self):
        raise ValueError("cannot be read")

    @expose
    def method(self):
        return "method"

    def unexposed(self):
        return "nobody sees this"

    def _private(self):
        return "nobody sees this"


@expose
class Counter:
    def __init__(self):
        self._lock = threading.Lock()
        self._count = 0

    def increment(self):
        with self._lock:
            self._count += 1
            return self._count

    def value(self):
        return self._count


@expose
class Philosopher:
    """Uses a lock of its own. What would hang is not here."""

    def __init__(self):
        self._left = threading.Lock()

    def fail(self):
        with self._left:
            raise ValueError("the soup is cold")

    def explode(self):
        with self._left:
            raise RuntimeError("the soup is hot")

    def is_free(self):
        return not self._left.locked()

    def too_late(self):
        try:
            threading.Barrier(2).wait(0.001)
        except threading.BrokenBarrierError:
            raise TimeoutError("nobody came") from None


@expose
class Scanner:
    """Long work in one call, watched and ended by others."""

    def __init__(self):
        self._steps = 0
        self._running = threading.Event()
        self._abort = threading.Event()

    def scan(self):
        self._abort.clear()
        self._steps = 0
        self._running.set()
        while not self._abort.wait(0.001):
            self._steps += 1
        self._running.clear()
        return self._steps

    def started(self):
        return self._running.wait(10)

    def progress(self):
        return self._steps

    def abort(self):
        self._abort.set()


class GateState:
    def __init__(self):
        self.changed = threading.Condition()
        self.open = True
        self.inside = 0
        self.most_inside = 0


@expose
class Gate:
    """`enter` holds the object until the gate is opened, in Rust with `&mut self`."""

    def __init__(self, state):
        self._state = state

    def enter(self):
        state = self._state
        with state.changed:
            state.inside += 1
            state.most_inside = max(state.inside, state.most_inside)
            state.changed.notify_all()
            state.changed.wait_for(lambda: state.open, timeout=30)
            state.inside -= 1
        return "done"


@expose
class GateKeeper:
    def __init__(self, state):
        self._state = state

    def set_open(self, is_open):
        with self._state.changed:
            self._state.open = is_open
            self._state.changed.notify_all()

    def wait_inside(self):
        """Waits until somebody is inside."""
        with self._state.changed:
            return self._state.changed.wait_for(lambda: self._state.inside > 0, timeout=10)

    def inside(self):
        return self._state.inside

    def most_inside(self):
        return self._state.most_inside


class Instance:
    _numbers = itertools.count(1)

    def __init__(self):
        self._number = next(Instance._numbers)
        self._calls = 0

    @expose
    def number(self):
        return self._number

    @expose
    def calls(self):
        self._calls += 1
        return self._calls


@behavior(instance_mode="session")
class SessionInstance(Instance):
    pass


@behavior(instance_mode="single")
class SingleInstance(Instance):
    pass


@behavior(instance_mode="percall")
class PerCallInstance(Instance):
    pass


class Unborn:
    def __init__(self):
        raise ValueError("cannot be made")

    @expose
    def number(self):
        return 0


@expose
class Context:
    def report(self):
        """What the call carried: annotations as text, correlation id, and the caller's address."""
        annotations = {k: bytes(v).decode("latin-1") for k, v in current_context.annotations.items()}
        correlation_id = current_context.correlation_id
        address = current_context.client_sock_addr
        return {
            "annotations": {k: v for k, v in annotations.items() if not k.startswith("AF")},
            "correlation_id": str(correlation_id) if correlation_id else None,
            "has_address": address is not None,
        }

    def respond(self, key, text):
        current_context.response_annotations = {key: text.encode("latin-1")}
        return "responded"

    def respond_and_fail(self, key, text):
        current_context.response_annotations = {key: text.encode("latin-1")}
        raise ValueError("failed after all")

    def forward(self, uri):
        """Our own report, and that of the object at `uri` called from here."""
        with Proxy(uri) as proxy:
            return [self.report(), proxy.report()]

    def forward_twice(self, through, uri):
        """Our own report, and those of `through` and, from there, of `uri`."""
        with Proxy(through) as proxy:
            return [self.report(), *proxy.forward(uri)]

    def relay(self, uris):
        """Passes a call along the URIs; says how many it reached."""
        if not uris:
            return 0
        with Proxy(uris[0]) as proxy:
            return 1 + proxy.relay(uris[1:])

    def nested_response(self, uri, key, text):
        """Calls an object that responds with an annotation, and does not respond by itself."""
        with Proxy(uri) as proxy:
            return proxy.respond(key, text)


class Sequence:
    ITEMS = ["a", "b", "c"]

    @expose
    def __len__(self):
        return len(self.ITEMS)

    @expose
    def __getitem__(self, index):
        return self.ITEMS[index]

    @expose
    def __contains__(self, item):
        return item in self.ITEMS


@expose
class Ledger:
    """Numbers in a file, which outlives the server."""

    def __init__(self, path):
        self._path = path

    def record(self, number):
        with open(self._path, "ab", buffering=0) as file:
            file.write(f"{number}\n".encode())
        return os.getpid()


@expose
class Ferry:
    def __init__(self):
        self._changed = threading.Condition()
        self._alone = threading.Lock()
        self._aboard = 0
        self._carried = 0
        self._log = []

    def cross(self, passengers):
        with self._changed:
            self._aboard += 1
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._aboard >= passengers, timeout=10):
                raise TimeoutError("nobody came")
        return passengers

    def empty(self):
        self._aboard = self._carried = 0
        self._log = []

    def carry(self, weight):
        with self._alone:
            before = self._carried
            time.sleep(0.001)
            self._carried = before + weight
            return self._carried

    def sink(self):
        raise ValueError("it leaks")

    @oneway
    def note(self, entry):
        self._log.append(entry)

    @property
    def log(self):
        return self._log

    def forward(self, uri):
        with Proxy(uri) as proxy:
            return proxy.report()


@expose
class Desk:
    def __init__(self):
        self._changed = threading.Condition()
        self._served = 0

    def next(self):
        with self._changed:
            self._served += 1
            self._changed.notify_all()
            return self._served

    def wait_for(self, served):
        with self._changed:
            if not self._changed.wait_for(lambda: self._served >= served, timeout=10):
                raise TimeoutError("nobody came")
            return self._served

    def close(self):
        self._served = 0


@expose
class Clerk:
    """Calls back in a thread of its own, as nothing in Pyro5 runs after the reply."""

    def order(self, customer, what):
        def deliver():
            with Proxy(customer) as proxy:
                proxy.deliver(what)

        threading.Thread(target=deliver, daemon=True).start()
        return "ordered"

    order_async = order


@expose
class Streams:
    """Gives out items one by one."""

    def __init__(self):
        self._open = 0
        self._changed = threading.Condition()

    def count(self, n):
        return iter(range(n))

    def given(self, items):
        return iter(items)

    def endless(self):
        self._change(1)
        return self._endless()

    def _endless(self):
        try:
            yield from itertools.count()
        finally:
            self._change(-1)

    def _change(self, by):
        with self._changed:
            self._open += by
            self._changed.notify_all()

    def opened(self):
        with self._changed:
            return self._open

    def wait_open(self, count):
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == count, timeout=10):
                raise TimeoutError(f"{self._open} are open")

    def failing(self):
        yield 0
        yield 1
        raise ValueError("no third one")

    def annotated(self):
        while True:
            user = bytes(current_context.annotations.get("USER", b""))
            current_context.response_annotations = {"ITEM": user}
            yield user.decode()

    def values(self):
        return [1, 2]

    def take(self, uri, method):
        """All items that a method of another object gives out."""
        with Proxy(uri) as proxy:
            return list(getattr(proxy, method)())

    @property
    def words(self):
        return iter(["one", "two"])

    def __iter__(self):
        return iter(["first", "second"])


class Guests:
    """What was seen of clients and of what they had."""

    def __init__(self):
        self.left = 0
        self.closed = []
        self.changed = threading.Condition()

    def change(self, left=0, closed=()):
        with self.changed:
            self.left += left
            self.closed.extend(closed)
            self.changed.notify_all()


class Coat:
    """What is closed when its client is gone."""

    def __init__(self, name, guests):
        self.name = name
        self.guests = guests

    def close(self):
        self.guests.change(closed=[self.name])


@expose
class GuestBook:
    def __init__(self, guests):
        self._guests = guests
        # Tracking does not keep them.
        self._coats = []

    def track(self, name):
        coat = Coat(name, self._guests)
        self._coats.append(coat)
        current_context.track_resource(coat)

    def untrack(self, name):
        for coat in self._coats:
            if coat.name == name:
                current_context.untrack_resource(coat)

    def left(self):
        return self._guests.left

    def closed(self):
        return self._guests.closed

    def wait_left(self, count):
        self._wait(lambda: self._guests.left >= count)

    def wait_closed(self, name):
        self._wait(lambda: name in self._guests.closed)

    def _wait(self, condition):
        with self._guests.changed:
            if not self._guests.changed.wait_for(condition, timeout=10):
                raise TimeoutError("nothing of that happened")


@expose
class Blobs:
    """Takes serialized blobs, and passes them on undecoded."""

    def take(self, blob):
        return [blob.info, blob.deserialized()]

    def aim(self, uri):
        self._target = uri

    def forward(self, blob):
        with Proxy(self._target) as target:
            # All hops have to use the same one.
            target._pyroSerializer = SERIALIZERS[current_context.serializer_id]
            return target.take(blob)


SERIALIZERS = {1: "serpent", 2: "marshal", 3: "json", 4: "msgpack"}


@expose
class Made:
    def name(self):
        return "made"


@expose
class Travel:
    """Objects that come and go as proxies."""

    _kept = None

    def call(self, proxy, method, args):
        return getattr(proxy, method)(*args)

    def keep(self, proxy):
        self._kept = proxy

    def kept(self):
        return self._kept

    def call_kept(self, method, args):
        return getattr(self._kept, method)(*args)

    def make(self):
        made = Made()
        self._pyroDaemon.register(made)
        return made

    def make_some(self):
        return {"made": [self.make()]}


class Nothing:
    def unexposed(self):
        pass


class Daemon(Pyro5.api.Daemon):
    secret = None
    guests = Guests()
    annotation = None

    def annotations(self):
        return {"DAEM": self.annotation.encode()} if self.annotation else {}

    def clientDisconnect(self, conn):
        self.guests.change(left=1)

    def validateHandshake(self, conn, data):
        if self.secret is None:
            return "hello"
        if data != self.secret:
            raise ValueError("wrong secret")
        return ["welcome", {"to": "the test"}]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--servertype", default="thread")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--unix")
    parser.add_argument("--secret")
    parser.add_argument("--ledger")
    parser.add_argument("--annotation")
    parser.add_argument("--connected", action="store_true")
    options = parser.parse_args()
    Pyro5.config.SERVERTYPE = options.servertype
    Pyro5.config.COMMTIMEOUT = 0
    if options.connected:
        daemon = Daemon(connected_socket=socket.socket(fileno=os.dup(0)))
    elif options.unix:
        # An argument cannot hold the NUL that an abstract name begins with.
        daemon = Daemon(unixsocket=options.unix.replace("@", "\0", 1))
    else:
        daemon = Daemon(host=options.host, port=options.port)
    daemon.secret = options.secret
    daemon.annotation = options.annotation
    gate = GateState()
    objects = {
        "values": Values(),
        "calc": Calc(),
        "shop": Shop(),
        "errors": Errors(),
        "recorder": Recorder(),
        "journal": Journal(),
        "attributes": Attributes(),
        "counter": Counter(),
        "scanner": Scanner(),
        "gate": Gate(gate),
        "gatekeeper": GateKeeper(gate),
        "philosopher": Philosopher(),
        "neighbour": Philosopher(),
        "session": SessionInstance,
        "single": SingleInstance,
        "percall": PerCallInstance,
        "unborn": Unborn,
        "context": Context(),
        "sequence": Sequence(),
        "nothing": Nothing(),
        "ferry": Ferry(),
        "desk": Desk(),
        "clerk": Clerk(),
        "streams": Streams(),
        "guests": GuestBook(daemon.guests),
        "blobs": Blobs(),
        "travel": Travel(),
        "ledger": Ledger(options.ledger),
    }
    for name, item in objects.items():
        print(daemon.register(item, name), flush=True)
    print("ready", flush=True)
    daemon.requestLoop()


if __name__ == "__main__":
    sys.exit(main())
