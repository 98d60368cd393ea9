"""Server processes for the tests, and what is needed to talk about them.

A server prints one URI a line and then `ready`. Whoever waits for that waits with a time-out, and
on any failure what the process wrote to its standard error is part of the message.
"""

import ast
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import Pyro5.api

HERE = Path(__file__).resolve().parent
START_TIMEOUT = 20


def binary(name):
    """The path of one of the workspace's binaries."""
    default = HERE.parents[1] / "target" / "release"
    path = Path(os.environ.get("ANTIFREEZE_BIN_DIR", default)) / name
    assert path.exists(), f"{path} is missing: `cargo xtask interop` builds it"
    return str(path)


class Process:
    """A child process whose output lines can be waited for, and that can be told some."""

    def __init__(self, command, env=None, cwd=None):
        self.command = command
        self.child = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "RUST_BACKTRACE": "1", **(env or {})},
        )
        self._lines = queue.Queue()
        self._errors = []
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_lines(self):
        for line in self.child.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self):
        for line in self.child.stderr:
            self._errors.append(line)

    def say(self, line):
        """Answers what the process asks."""
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    @property
    def stderr(self):
        return "".join(self._errors)

    def wait_line(self, wanted, timeout=START_TIMEOUT):
        """All lines up to and including the first one for which `wanted(line)` is true."""
        deadline = time.monotonic() + timeout
        lines = []
        while True:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(self._story(f"not ready after {timeout} s", lines)) from None
            if line is None:
                code = self.child.wait(5)
                self._readers[1].join(5)
                raise AssertionError(self._story(f"ended with exit code {code}", lines))
            lines.append(line)
            if wanted(line):
                return lines

    def rest(self, timeout=START_TIMEOUT):
        """The lines up to the end of the process, which comes by itself."""
        deadline = time.monotonic() + timeout
        lines = []
        while True:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(self._story(f"still there after {timeout} s", lines)) from None
            if line is None:
                self.wait(5)
                return lines
            lines.append(line)

    def _story(self, what, lines):
        return (
            f"{' '.join(self.command)}: {what}\n"
            f"--- standard output\n" + "\n".join(lines) + f"\n--- standard error\n{self.stderr}"
        )

    def alive(self):
        return self.child.poll() is None

    def wait(self, timeout):
        """The exit code, once the process has ended by itself."""
        code = self.child.wait(timeout)
        for reader in self._readers:
            reader.join(5)
        return code

    def kill(self):
        if self.alive():
            self.child.kill()
        self.child.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.kill()
        if kind is not None and self.stderr:
            print(f"--- standard error of {' '.join(self.command)}\n{self.stderr}", file=sys.stderr)


class Server(Process):
    """One of the servers that expose the test objects: ours, or its twin in Python."""

    def __init__(self, kind, *flags, env=None):
        self.kind = kind
        what, _, servertype = kind.partition("-")
        self.ours = what == "antifreeze"
        if self.ours:
            driver = ["--threads"] if servertype == "threads" else []
            command = [binary("interop-server"), *driver, *flags]
        else:
            servertype = servertype or "thread"
            command = [sys.executable, str(HERE / "twin.py"), "--servertype", servertype, *flags]
        super().__init__(command, env)
        try:
            lines = self.wait_line(lambda line: line == "ready")
        except BaseException:
            self.kill()
            raise
        self.uris = {Pyro5.api.URI(line).object: line for line in lines if line.startswith("PYRO:")}

    def uri(self, name):
        return self.uris[name]

    @property
    def address(self):
        """What `socket.connect` takes."""
        uri = Pyro5.api.URI(self.uri("values"))
        return uri.sockname or (uri.host, uri.port)

    def proxy(self, name, serializer="serpent", timeout=30):
        proxy = Pyro5.api.Proxy(self.uri(name))
        proxy._pyroSerializer = serializer
        proxy._pyroTimeout = timeout
        return proxy


class Client:
    """Runs scenarios of `interop-client`, by one of its kinds of proxy."""

    ours = True

    def __init__(self, *flags):
        self.flags = flags

    def run(self, scenario, *arguments, timeout=50, env=None):
        """Runs one scenario, which checks everything by itself, and returns what it printed."""
        command = [binary("interop-client"), *self.flags, scenario, *map(str, arguments)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "RUST_BACKTRACE": "1", "RUST_LIB_BACKTRACE": "0", **(env or {})},
        )
        assert done.returncode == 0, (
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout


class StockClient:
    """Does by Pyro5's own client what the Rust one does in those scenarios that print values: the
    control for the table of values."""

    ours = False

    def run(self, scenario, uri, option, serializer, dashes, *arguments):
        assert (option, dashes) == ("--serializer", "--")
        with Pyro5.api.Proxy(uri) as proxy:
            proxy._pyroSerializer = serializer
            method = getattr(proxy, scenario)
            if scenario != "literal":
                arguments = map(ast.literal_eval, arguments)
            show = str if scenario == "describe" else repr

            def line(argument):
                try:
                    return show(method(argument))
                except (TypeError, ValueError, OverflowError, AttributeError, Pyro5.errors.PyroError):
                    return "refused"

            return "".join(line(argument) + "\n" for argument in arguments)


def in_threads(count, work):
    """Runs `work(index)` in `count` threads that start together; their results in order."""
    results = [None] * count
    errors = []
    barrier = threading.Barrier(count)

    def run(index):
        try:
            barrier.wait(30)
            results[index] = work(index)
        except BaseException as error:  # reported by the caller, whatever it is
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return results


def until(condition, timeout=10, what="condition"):
    """Polls a condition that belongs to another process and has no event to wait for."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"{what}: not so after {timeout} s"
        time.sleep(0.01)
