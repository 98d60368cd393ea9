"""A stock Pyro5 name server: finding servers by name or tags, and following them when they move."""

import Pyro5.api
import pytest
from conftest import BOTH
from harness import Process, binary


@pytest.fixture
def names(nameserver):
    with Pyro5.api.locate_ns(*nameserver) as names:
        yield names
        names.remove(prefix="interop.")


@pytest.fixture
def at(nameserver):
    host, port = nameserver
    return f"@{host}:{port}"


def test_a_name_leads_to_the_object(server, names, at, client, serializer):
    names.register("interop.calc", server.uri("calc"))
    client.run("add", f"PYRONAME:interop.calc{at}", "--serializer", serializer)


def test_tags_lead_to_the_object(server, names, at, client, serializer):
    names.register("interop.a", server.uri("calc"), metadata={"kind:calc", "interop"})
    names.register("interop.b", "PYRO:nobody@localhost:1", metadata={"kind:other", "interop"})
    client.run("add", f"PYROMETA:interop,kind:calc{at}", "--serializer", serializer)


def test_a_stock_client_finds_ours_by_name(server, names, at):
    names.register("interop.calc", server.uri("calc"), metadata={"interop.calc"})
    for uri in (f"PYRONAME:interop.calc{at}", f"PYROMETA:interop.calc{at}"):
        with Pyro5.api.Proxy(uri) as proxy:
            assert proxy.add(1, 2) == 3


def test_an_unknown_name_is_a_clear_error(names, at, client):
    client.run("unknown-name", f"PYRONAME:interop.nobody{at}")


def test_unknown_tags_are_a_clear_error(names, at, client):
    client.run("unknown-name", f"PYROMETA:interop.no,interop.such{at}")


def test_no_name_server_is_a_clear_error(client):
    client.run("unknown-name", "PYRONAME:interop.nobody@localhost:1")


def test_the_rust_client_of_the_name_server(names, nameserver, client):
    """Registers, lists, looks up, and removes; what it leaves behind we see here."""
    host, port = nameserver
    client.run("name-server", host, port)
    found = names.list(prefix="interop.", return_metadata=True)
    assert found == {"interop.left": ("PYRO:left@localhost:1234", {"interop:tag"})}


@pytest.mark.parametrize("kind", BOTH)
def test_a_proxy_follows_a_server_that_moved(start, names, at, tmp_path, kind):
    """The server is killed in the middle of calls and comes back on another port. The proxy finds
    it by its name, and no call was executed twice."""
    ledger = tmp_path / "ledger"
    first = start(kind, "--ledger", str(ledger))
    names.register("interop.ledger", first.uri("ledger"))
    command = [binary("interop-client"), "follow", f"PYRONAME:interop.ledger{at}"]
    with Process(command) as follower:
        lines = follower.wait_line(lambda line: line == "acknowledged 200")
        first.kill()
        second = start(kind, "--ledger", str(ledger))
        assert second.address != first.address
        names.register("interop.ledger", second.uri("ledger"))
        lines += follower.wait_line(lambda line: line == "done", timeout=40)
        assert follower.wait(10) == 0, follower.stderr
    written = [int(line) for line in ledger.read_text().split()]
    assert len(written) == len(set(written)), "a call was executed twice"
    acknowledged = {int(line.split()[1]) for line in lines if line.startswith("acknowledged")}
    unknown = {int(line.split()[1]) for line in lines if line.startswith("unknown")}
    assert acknowledged <= set(written), "a call was acknowledged but not executed"
    assert set(written) <= acknowledged | unknown
    assert len(unknown) <= 1
