"""Where Pyro5's examples are played: one half as Pyro5 ships it, the other by `pyro5-examples`."""

import re
import sys

import Pyro5.api
from harness import HERE, Process, binary, until

#: How many times shorter the sleeps of the scripts are, and how long a second is for ours.
FAST = 10
SECOND_MS = 1000 // FAST


class Stage:
    def __init__(self, source, nameserver, folder):
        self.examples = source / "examples"
        self.folder = folder
        self.nameserver = nameserver
        host, port = nameserver
        self.env = {
            "RUST_LIB_BACKTRACE": "0",
            **{f"PYRO_NS_{name}": value for name, value in [("HOST", host), ("PORT", str(port))]},
            **{f"ANTIFREEZE_NS_{name}": value for name, value in [("HOST", host), ("PORT", str(port))]},
        }
        self.started = []

    def close(self):
        for process in self.started:
            process.kill()

    def _start(self, command, said, env):
        process = Process([*map(str, command)], {**self.env, **env}, self.folder)
        self.started.append(process)
        for line in said:
            process.say(line)
        return process

    def forget(self, **which):
        """Removes what earlier servers have left in the name server."""
        with Pyro5.api.locate_ns(*self.nameserver) as names:
            names.remove(**which)

    def await_name(self, prefix):
        """Waits for a server that does not say when it is ready."""
        with Pyro5.api.locate_ns(*self.nameserver) as names:
            until(lambda: names.list(prefix=prefix), what=f"a name {prefix}")

    def script(self, path, *said, fast=FAST, edits=(), arguments=(), env={}):
        """Starts one of Pyro5's scripts, and answers what it asks."""
        edited = [word for old, new in edits for word in ("--edit", old, new)]
        command = [sys.executable, HERE / "play.py", "--fast", fast, *edited, self.examples / path]
        return self._start([*command, *arguments], said, env)

    def pyro5_serves(self, path, *said, ready="Pyro daemon running.", **options):
        """Starts the example's own server; returns it and the URIs that it prints."""
        return self._ready(self.script(path, *said, **options), ready)

    def python_tool(self, module, *arguments, ready, env={}):
        """Starts a server that is a module."""
        return self._ready(self._start([sys.executable, "-m", module, *arguments], (), env), ready)

    def echo(self):
        """Starts `antifreeze echo`."""
        return self._ready(self._start([binary("antifreeze"), "echo"], (), {}), "PYRO:")

    def rust(self, *arguments, second_ms=SECOND_MS, env={}):
        command = [binary("pyro5-examples"), "--second-ms", second_ms, *arguments]
        return self._start(command, (), env)

    def rust_serves(self, *arguments, **options):
        """Starts our server; returns it and the URIs that it prints."""
        return self._ready(self.rust("serve", *arguments, **options), "ready")

    def _ready(self, process, ready):
        lines = process.wait_line(lambda line: ready in line)
        return process, re.findall(r"PYRO:[^\s'\"]+", "\n".join(lines))

    def visits(self, path, *said, code=0, **options):
        """Runs the example's own client to its end; returns what it printed."""
        return finished(self.script(path, *said, **options), code)

    def rust_visits(self, *arguments, **options):
        """Runs our client to its end, which checks everything by itself; returns what it printed."""
        return finished(self.rust("visit", *arguments, **options), 0)


def finished(process, code):
    output = "\n".join(process.rest(50))
    assert process.child.returncode == code, f"{output}\n{process.stderr}"
    return output


def says(output, *texts):
    """Fails unless it says all that, in this order."""
    position = 0
    for text in texts:
        found = output.find(text, position)
        assert found >= 0, f"{text!r} is missing, or too early, in:\n{output}"
        position = found + len(text)
