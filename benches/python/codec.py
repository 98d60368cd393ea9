"""Python's side of `codecs`: makes the documents, and encodes and decodes them by the codecs of Pyro5."""

import json
import marshal
import pathlib
import statistics
import sys
import time

import msgpack
import serpent

ENCODE = {
    "serpent": lambda value: serpent.dumps(value, module_in_classname=True),
    "marshal": marshal.dumps,
    "json": lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8"),
    "msgpack": lambda value: msgpack.packb(value, use_bin_type=True),
}
DECODE = {
    "serpent": serpent.loads,
    "marshal": marshal.loads,
    "json": lambda document: json.loads(document.decode("utf-8")),
    "msgpack": lambda document: msgpack.unpackb(document, raw=False),
}


def source(path):
    content = path.read_bytes()
    return content if path.stem == "bytes" else json.loads(content)


def prepare(paths):
    """Writes documents beside what they are of, and prints how many bytes they have."""
    sizes = {}
    for path in map(pathlib.Path, paths):
        value = source(path)
        for codec, encode in ENCODE.items():
            if codec == "json" and path.stem == "bytes":
                continue
            document = path.with_suffix("." + codec)
            sizes[document.name] = document.write_bytes(encode(value))
    print(json.dumps(sizes))


def measure(job):
    document = pathlib.Path(job["document"]).read_bytes()
    decode, encode = DECODE[job["codec"]], ENCODE[job["codec"]]
    if (job["codec"], job["dataset"]) == ("serpent", "bytes"):
        # What serpent gives is the dict that stands for bytes.
        decode = lambda document: serpent.tobytes(serpent.loads(document))
    work, argument = decode, document
    if job["operation"] == "encode":
        work, argument = encode, decode(document)
    work(argument)
    times = []
    end = time.monotonic() + job["effort"]["milliseconds"] / 1e3
    while len(times) < 2 or time.monotonic() < end:
        before = time.thread_time_ns()
        work(argument)
        times.append(time.thread_time_ns() - before)
    print(json.dumps({"nanoseconds": float(statistics.median(times)), "allocations": None}))


if sys.argv[1] == "prepare":
    prepare(sys.argv[2:])
else:
    measure(json.loads(sys.argv[2]))
