"""Unix sockets, IPv6, and how connections end."""

import socket
import sys

import Pyro5.api
import Pyro5.errors
import pytest
import wire


def try_it(server, serializer):
    with server.proxy("calc", serializer) as proxy:
        assert proxy.add(1, 2) == 3
    with server.proxy("context", serializer) as proxy:
        return proxy.report()


def test_a_unix_socket(server, start, tmp_path, serializer):
    path = tmp_path / "socket"
    unix = start(server.kind, "--unix", str(path))
    assert unix.uri("calc") == f"PYRO:calc@./u:{path}"
    try_it(unix, serializer)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets exist on Linux only")
def test_an_abstract_unix_socket(server, start, tmp_path, serializer):
    name = f"{tmp_path}/abstract"
    unix = start(server.kind, "--unix", f"@{name}")
    assert unix.uri("calc") == f"PYRO:calc@./u:\0{name}"
    try_it(unix, serializer)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(server, start, serializer):
    v6 = start(server.kind, "--host", "::1")
    assert v6.uri("calc").startswith("PYRO:calc@[::1]:")
    assert try_it(v6, serializer)["has_address"] is True


def test_the_uri_keeps_the_host_as_it_was_given(server):
    assert server.uri("calc").startswith("PYRO:calc@localhost:")


def test_a_lost_connection_is_replaced_by_the_next_call(server, serializer):
    with server.proxy("calc", serializer) as proxy:
        assert proxy.add(1, 2) == 3
        proxy._pyroConnection.sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(Pyro5.errors.ConnectionClosedError):
            proxy.add(1, 2)
        assert proxy.add(1, 2) == 3


@pytest.mark.against("antifreeze")  # Pyro5 answers nothing to a peer that half closed
def test_the_answer_is_delivered_after_the_peers_end_of_file(server):
    with wire.Raw(server.address) as raw:
        raw.handshake("calc")
        raw.send(wire.invoke("calc", "add", [1, 2]))
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.reply().value == 3
        assert raw.closed()


def test_a_message_in_single_bytes(server):
    with wire.Raw(server.address) as raw:
        raw.handshake("calc")
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in wire.invoke("calc", "add", [1, 2]):
            raw.send(bytes([byte]))
        assert raw.reply().value == 3


def test_a_server_that_is_gone(start, server, serializer):
    other = start(server.kind)
    with other.proxy("calc", serializer) as proxy:
        assert proxy.add(1, 2) == 3
        other.kill()
        with pytest.raises(Pyro5.errors.CommunicationError):
            proxy.add(1, 2)


@pytest.mark.against("antifreeze")  # Pyro5 knows nothing of SIGTERM
def test_sigterm_ends_the_server_cleanly(start, server):
    other = start(server.kind)
    with other.proxy("calc") as proxy:
        assert proxy.add(1, 2) == 3
        other.child.terminate()
        assert other.wait(15) == 0
