"""Daemons and proxies on sockets that were connected before: one of each side ours."""

import socket
import subprocess
import sys
import threading

import pytest
from harness import HERE, binary
from Pyro5.api import Daemon, Proxy, current_context, expose
from Pyro5.errors import DaemonError
from Pyro5.serializers import serializers

SERVERS = {
    "antifreeze": [binary, "interop-server"],
    "antifreeze-threads": [binary, "interop-server", "--threads"],
    "pyro5": [lambda _: sys.executable, "", str(HERE / "twin.py")],
}


@pytest.fixture(params=["unix", "tcp"])
def pair(request):
    """Two ends of a connection."""
    if request.param == "unix":
        ends = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            ends = one, listener.accept()[0]
    for end in ends:
        end.settimeout(20)
    yield ends
    for end in ends:
        end.close()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_stock_client_at_the_other_end(pair, kind):
    ours, theirs = pair
    find, name, *flags = SERVERS[kind]
    command = [find(name), *flags, "--connected"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True) as child:
        try:
            theirs.close()
            assert any(line == "ready\n" for line in child.stdout)
            # Two proxies, one after the other: the socket belongs to neither.
            for _ in range(2):
                with Proxy("calc", connected_socket=ours) as calc:
                    assert not calc._pyroBind() and "add" in calc._pyroMethods
                    assert [calc.add(1, 2), calc.add(2, 3)] == [3, 5]
            with pytest.raises(DaemonError, match="unknown object"):
                Proxy("nobody", connected_socket=ours)
            # Nobody is refused for good by that, and the daemon ends with its connection only.
            with Proxy("calc", connected_socket=ours) as calc:
                assert calc.add(3, 4) == 7
            assert child.poll() is None
            ours.close()
            assert child.wait(20) == 0
        finally:
            child.kill()


@expose
class Calc:
    def __init__(self):
        self.added = []

    def add(self, x, y):
        self.added.append((x, y, current_context.serializer_id))
        return x + y


@pytest.mark.parametrize("flags", [[], ["--tasks"]], ids=["threads", "tasks"])
def test_a_stock_daemon_at_the_other_end(pair, flags, serializer):
    ours, theirs = pair
    daemon = Daemon(connected_socket=ours)
    calc = Calc()
    daemon.register(calc, "calc")
    thread = threading.Thread(target=daemon.requestLoop, daemon=True)
    thread.start()
    command = [binary("interop-client"), *flags, "connected", "calc", "--serializer", serializer]
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    by = serializers[serializer].serializer_id
    assert calc.added == [(1, 2, by), (2, 3, by)]
    assert thread.is_alive()
    theirs.close()
    thread.join(20)
    assert not thread.is_alive()
