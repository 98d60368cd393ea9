"""Pyro's wire protocol by hand, for messages that no client would send."""

import json
import marshal
import socket
import struct
import zlib

CONNECT, CONNECTOK, CONNECTFAIL, INVOKE, RESULT, PING = range(1, 7)
EXCEPTION, COMPRESSED, ONEWAY, BATCH, STREAM, BLOB, CORRELATION = (1 << bit for bit in range(7))
SERPENT, MARSHAL, JSON, MSGPACK = 1, 2, 3, 4
IDS = {"serpent": SERPENT, "marshal": MARSHAL, "json": JSON, "msgpack": MSGPACK}
HEADER = struct.Struct("!4sHBBHHII16sHH")


def chunk(key, value):
    """One annotation; `key` is bytes, so that it may be wrong."""
    return key + struct.pack("!I", len(value)) + value


def message(
    kind,
    payload=b"",
    *,
    seq=0,
    serializer=SERPENT,
    flags=0,
    annotations=b"",
    tag=b"PYRO",
    version=502,
    magic=0x4DC5,
    reserved=0,
    correlation=bytes(16),
    size=None,
    annotations_size=None,
):
    """The bytes of a message. `size` and `annotations_size` claim other lengths than the true."""
    size = len(payload) if size is None else size
    annotations_size = len(annotations) if annotations_size is None else annotations_size
    header = HEADER.pack(
        tag, version, kind, serializer, flags, seq, size, annotations_size, correlation, reserved, magic
    )
    return header + annotations + payload


def serpent(text):
    return b"# serpent utf-8 python3.2\n" + text.encode()


def connect(object_id="values", **fields):
    payload = serpent(repr({"handshake": "hello", "object": object_id}))
    return message(CONNECT, payload, **fields)


def invoke(object_id, method, args=(), kwargs=None, *, serializer=SERPENT, seq=1, **fields):
    kwargs = kwargs or {}
    if serializer == SERPENT:
        payload = serpent(repr((object_id, method, tuple(args), kwargs)))
    elif serializer == MARSHAL:
        payload = marshal.dumps((object_id, method, list(args), kwargs))
    elif serializer == JSON:
        call = {"object": object_id, "method": method, "params": list(args), "kwargs": kwargs}
        payload = json.dumps(call).encode()
    else:
        import msgpack

        payload = msgpack.packb([object_id, method, list(args), kwargs])
    if fields.get("flags", 0) & COMPRESSED:
        payload = zlib.compress(payload)
    return message(INVOKE, payload, serializer=serializer, seq=seq, **fields)


class Reply:
    def __init__(self, header, annotations, payload):
        (_, self.version, self.kind, self.serializer, self.flags, self.seq, _, _, self.correlation, _, _) = (
            HEADER.unpack(header)
        )
        self.annotations = {}
        while annotations:
            (length,) = struct.unpack_from("!I", annotations, 4)
            self.annotations[annotations[:4].decode("ascii")] = annotations[8 : 8 + length]
            annotations = annotations[8 + length :]
        self.payload = zlib.decompress(payload) if self.flags & COMPRESSED else payload

    @property
    def value(self):
        from Pyro5.serializers import serializers_by_id

        return serializers_by_id[self.serializer].loads(self.payload)

    def __repr__(self):
        return f"<type {self.kind} seq {self.seq} flags {self.flags:#x} {self.payload[:200]!r}>"


class Raw:
    """A plain socket that can read replies."""

    def __init__(self, address, timeout=10):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout)

    def send(self, data):
        self.socket.sendall(data)
        return self

    def receive(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError(f"closed after {len(data)} of {size} bytes")
            data += part
        return data

    def reply(self):
        header = self.receive(HEADER.size)
        size, annotations_size = struct.unpack_from("!II", header, 12)
        annotations = self.receive(annotations_size)
        return Reply(header, annotations, self.receive(size))

    def closed(self):
        """True if the peer closes now without a word; a time-out is an error."""
        try:
            data = self.socket.recv(1)
        except ConnectionResetError:
            return True
        assert data == b"", f"a reply came instead: {data + self.socket.recv(1000)!r}"
        return True

    def handshake(self, object_id="values"):
        reply = self.send(connect(object_id)).reply()
        assert reply.kind == CONNECTOK, reply
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
