"""Pyro5's own examples, with their server or their client in Rust: what `pyro5-examples` plays.

The other half is as Pyro5 ships it; `play.py` only has it sleep less.
"""

import datetime
import hashlib
import math
import re
import runpy
import socket
import time
import zipfile

import Pyro5.api
import pytest
from harness import binary, until
from stage import Stage, finished, says

# The others, each with the reason.
NOT_PLAYED = {
    "eventloop": "its subject is the loop of Python's daemon",
    "gui_eventloop": "needs a display",
    "http": "needs an HTTP gateway, which we do not have",
    "privilege-separation": "needs a user who may become another one",
    "robots": "needs a display",
    "ssl": "needs TLS, which we do not have",
    "threadproxysharing": "its subject is the thread that owns a proxy of Python's",
}


@pytest.fixture
def stage(pyro5_source, nameserver, tmp_path):
    stage = Stage(pyro5_source, nameserver, tmp_path)
    yield stage
    stage.close()


@pytest.fixture(params=[(), ("--threads",)], ids=["tasks", "threads"])
def driver(request):
    """Each of our drivers, for servers."""
    return request.param


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_the_others_have_reasons(pyro5_source):
    folders = {folder.name for folder in (pyro5_source / "examples").iterdir() if folder.is_dir()}
    tests = "".join(f"{name}_" for name in globals() if name.startswith("test_"))
    played = {name for name in folders if f"test_{name.replace('-', '_')}_" in tests}
    assert folders - played == set(NOT_PLAYED)


def test_attributes_server(stage, driver):
    _, (uri,) = stage.rust_serves("attributes", *driver)
    output = stage.visits("attributes/client.py", uri)
    says(output, "p.prop_value= 42", "p.prop_value= 542", "actual remote value:  542", "yep")
    says(output, *["ok, got expected error:"] * 4, "{'name': 'value'}   (should be unchanged!)", "(local only)")
    assert "Remote value is different" not in output


def test_attributes_client(stage):
    _, (uri,) = stage.pyro5_serves("attributes/server.py")
    stage.rust_visits("attributes", uri)


SPOKEN = [
    "Thingy 1 says: I am the first",
    "Thingy 2 says: I am second",
    "Thingy 3 says: I am last then...",
]


def test_autoproxy_server(stage, driver):
    server, (uri,) = stage.rust_serves("autoproxy", *driver)
    output = stage.visits("autoproxy/client.py", uri)
    address = re.escape(uri.partition("@")[2])
    assert re.search(rf"<Pyro5\.client\.Proxy at .* for PYRO:obj_\w{{32}}@{address};", output), output
    assert server.wait_line(lambda line: "last then" in line) == SPOKEN


def test_autoproxy_client(stage):
    server, (uri,) = stage.pyro5_serves("autoproxy/server.py")
    stage.rust_visits("autoproxy", uri)
    assert server.wait_line(lambda line: "last then" in line) == SPOKEN


def test_autoreconnect_server(stage, driver):
    at = f"localhost:{free_port()}"
    server, (uri,) = stage.rust_serves("autoreconnect", "--at", at, *driver)
    client = stage.script("autoreconnect/client.py", uri, fast=50)
    client.wait_line(lambda line: line.startswith("Sleeping"))
    server.kill()
    client.wait_line(lambda line: "Connection lost. REBINDING..." in line)
    stage.rust_serves("autoreconnect", "--at", at, *driver)
    client.wait_line(lambda line: line.startswith("Sleeping"))


def test_autoreconnect_client(stage):
    port = [("port=7777", f"port={free_port()}")]
    start = lambda: stage.pyro5_serves("autoreconnect/server.py", ready="Server started", edits=port)  # noqa: E731
    server, (uri,) = start()
    client = stage.rust("visit", "autoreconnect", uri)
    client.say("now")
    client.wait_line(lambda line: line == "called")
    server.kill()
    start()
    client.say("now")
    client.wait_line(lambda line: line == "called")


def test_autoreconnect_server_by_name(stage, driver):
    stage.forget(name="example.autoreconnect")
    server, before = stage.rust_serves("autoreconnect", "NS", *driver)
    client = stage.script("autoreconnect/clientNS.py", fast=50)
    client.wait_line(lambda line: line.startswith("Sleeping"))
    server.kill()
    client.wait_line(lambda line: "Connection lost. REBINDING..." in line)
    _, after = stage.rust_serves("autoreconnect", "NS", *driver)
    assert after == before
    client.wait_line(lambda line: line.startswith("Sleeping"))


def test_autoreconnect_client_by_name(stage):
    def start(known):
        server = stage.script("autoreconnect/serverNS.py")
        says("\n".join(server.wait_line(lambda line: line == "Server started.")), known)
        return server

    def call():
        client.say("now")
        client.wait_line(lambda line: line == "called")

    unknown = "There was no previous registration in the name server."
    stage.forget(name="example.autoreconnect")
    server = start(unknown)
    client = stage.rust("visit", "autoreconnect", "PYRONAME:example.autoreconnect")
    call()
    server.kill()
    server = start("Object still exists in Name Server with id: obj_")
    call()
    server.kill()
    # The next one is elsewhere, and has another id.
    stage.forget(name="example.autoreconnect")
    start(unknown)
    call()


def test_autoretry_server(stage, driver):
    server, _ = stage.rust_serves("autoretry", *driver, env={"ANTIFREEZE_IDLE_TIMEOUT": "0.1"})
    output = stage.visits("autoretry/client.py", fast=4)
    says(output, 'Got exception "ConnectionClosedError', "(will not raise any exceptions)")
    # What raised was not run; what was sent again was.
    calls = server.wait_line(lambda line: line == "calling add: 3, 3")
    assert calls == [f"calling add: {n}, {n}" for n in (1, 2, 1, 2, 3)]


def test_autoretry_client(stage):
    edits = [("COMMTIMEOUT = 0.5", "COMMTIMEOUT = 0.1")]
    stage.pyro5_serves("autoretry/server.py", edits=edits)
    stage.rust_visits("autoretry", second_ms=300)


def test_banks_server(stage, driver):
    stage.rust_serves("banks", *driver)
    output = stage.visits("banks/client.py")
    customers = ("Irmen", "Suzy")
    for bank, refused, end in [("ABN bank", "insufficent balance", "300.75"), ("Rabobank", "", "-99.25")]:
        for customer in customers:
            says(
                output,
                f"*** {customer} is doing business with {bank}:",
                "Balance=700.75",
                refused,
                f"End balance={end}",
                *["Failed as expected: 'unknown account'"] * 2,
            )
        says(output, f"The accounts in the {bank}:", *(f"  {customer} : {end}" for customer in customers))
    assert output.count("insufficent balance") == 2 and "!!!" not in output


def test_banks_client(stage):
    stage.pyro5_serves("banks/server.py", ready="Banks are ready")
    stage.rust_visits("banks")


def test_batchedcalls_server(stage, driver):
    server, (uri,) = stage.rust_serves("batchedcalls", *driver)
    loops = [("NUMBER_OF_LOOPS = 20000", "NUMBER_OF_LOOPS = 200")]
    output = stage.visits("batchedcalls/client.py", uri, edits=loops)
    says(output, "100//3 = 33", "100//2 = 50", "100//1 = 100", "A divide by zero error occurred", "ZeroDivisionError")
    assert "100//0" not in output
    said = server.wait_line(lambda line: line == "end of batch #2")
    wanted = [f"{when} {what}" for what in ("normal calls", "batch #1", "batch #2") for when in ("beginning", "end of")]
    wanted[1] = "end of normal calls"
    assert said == wanted


def test_batchedcalls_client(stage):
    server, (uri,) = stage.pyro5_serves("batchedcalls/server.py")
    stage.rust_visits("batchedcalls", uri)
    server.wait_line(lambda line: line == "end of batch #2")


def test_benchmark_server(stage, driver):
    _, (uri,) = stage.rust_serves("benchmark", *driver)
    output = stage.visits("benchmark/client.py", uri, edits=[("iters = 1000", "iters = 50")])
    says(output, *(f"call #{n}, 50 times" for n in range(1, 13)), "(serializer: marshal)")
    fewer = [("ITERATIONS = 2000", "ITERATIONS = 100"), ("ITERATIONS = 10000", "ITERATIONS = 1000")]
    output = stage.visits("benchmark/connections.py", uri, edits=fewer)
    says(output, "100 connections in", "100 new proxy calls in", "1000 calls in")


def test_benchmark_client(stage):
    here = [("Pyro5.socketutil.get_ip_address(\"\", True)", "'localhost'")]
    _, (uri,) = stage.pyro5_serves("benchmark/server.py", edits=here)
    stage.rust_visits("benchmark", uri)


NODES = [f"{number:03b}" for number in range(1, 8)]


@pytest.mark.parametrize("ours", NODES)
def test_blob_dispatch(stage, driver, ours):
    """Some of dispatcher, listener and client are ours."""
    dispatcher_is_ours, listener_is_ours, client_is_ours = (node == "1" for node in ours)
    if dispatcher_is_ours:
        dispatcher, _ = stage.rust_serves("blob-dispatch", *driver)
    else:
        dispatcher, _ = stage.pyro5_serves("blob-dispatch/dispatcher/dispatcher.py")
    if listener_is_ours:
        listener, _ = stage.rust_serves("blob-dispatch", "weather", *driver)
    else:
        ready = "Listener for topic weather waiting for data."
        listener, _ = stage.pyro5_serves("blob-dispatch/listeners/main.py", ready=ready, arguments=["weather"])
    (said,) = dispatcher.wait_line(lambda line: "listener" in line)
    says(said, "New listener for topic weather registered: PYRO:obj_")
    if client_is_ours:
        output = stage.rust_visits("blob-dispatch", "news", "weather")
    else:
        output = stage.visits("blob-dispatch/client/client.py", "news", "weather", "")
    assert output.count("processed") == 2
    said = dispatcher.wait_line(lambda line: "weather" in line)
    assert said == [f"Dispatching blob with name: {topic}" for topic in ("news", "weather")]
    title, data = listener.wait_line(lambda line: "a=" in line)
    says(title, "Received custom data")
    assert re.fullmatch(r"    a=42, b=hello world, c=\d{4}-\d\d-\d\dT[\d:.]+", data)


def test_callback_server(stage, driver):
    server, _ = stage.rust_serves("callback", *driver)
    output = stage.visits("callback/client.py")
    says(output, "creating a bunch of workers", "waiting for all work complete...", "done!")
    reports = re.findall("callback: worker (.) reports work is done!", output)
    assert sorted(reports) == list("12345")
    said = [server.wait_line(bool)[-1] for _ in range(15)]
    for number in range(1, 6):
        says(
            "\n".join(said),
            f"server: adding worker {number}",
            f"Worker {number} busy...",
            f"Worker {number} done. Informing callback client.",
        )


def test_callback_client(stage, driver):
    server, _ = stage.pyro5_serves("callback/server.py")
    output = stage.rust_visits("callback", "1", *driver)
    assert sorted(output.splitlines()) == [f"callback: worker {n} reports work is done!" for n in range(1, 6)]
    # Its threads print into each other's lines.
    said = ""
    while said.count(" done. Informing callback client.") < 5:
        said += server.wait_line(bool)[-1]
    assert all(f"Worker {number} busy..." in said for number in range(1, 6))


CALLED_BACK = [
    text
    for number in (1, 2)
    for text in (f"server: doing callback {number} to client", "got an exception from the callback:", "ZeroDivisionError")
]


def test_callback_server_2(stage, driver):
    server, _ = stage.rust_serves("callback", *driver)
    client = stage.script("callback/client2.py")
    said = "\n".join(client.wait_line(lambda line: "you will see the exception" in line))
    says(said, "callback 1 received from server!", "callback 2 received from server!")
    said = "\n".join(server.wait_line(lambda line: line == "server: callbacks done."))
    says(said, *CALLED_BACK)
    # The client is told of the one that is marked, and of no other.
    until(lambda: "ZeroDivisionError" in client.stderr, what="the client's log")
    assert "in call2" in client.stderr and "in call1" not in client.stderr


def test_callback_client_2(stage, driver):
    server, _ = stage.pyro5_serves("callback/server2.py")
    client = stage.rust("visit", "callback", "2", *driver)
    finished(client, 0)
    (told,) = [line for line in client.stderr.splitlines() if "a callback raised" in line]
    says(told, 'method="call2"', "ZeroDivisionError")
    said = "\n".join(server.wait_line(lambda line: line == "server: callbacks done."))
    says(said, *CALLED_BACK[:3], "in call1", *CALLED_BACK[3:], "in call2")


def test_callcontext_server(stage, driver):
    server, (uri,) = stage.rust_serves("callcontext", *driver)
    output = stage.visits("callcontext/client.py", uri)
    (correlation,) = re.findall("correlation id set to: (.*)", output)
    annotation = "DDAA -> b'custom response annotation set by the daemon'"
    says(output, "normal call", annotation, "oneway call", "(should be an empty result because oneway!)")
    assert output.count("DDAA") == 1
    said = "\n".join(server.wait_line(lambda line: "from client (2)" in line))
    assert said.count(f"correlation_id: {correlation}") == 2
    says(said, "Got Message: hi there", "from client (1)", "Got Message: hi there ONEWAY", "from client (2)")


def test_callcontext_client(stage):
    server, (uri,) = stage.pyro5_serves("callcontext/server.py", ready="PYRO:")
    output = stage.rust_visits("callcontext", uri)
    (correlation,) = re.findall("correlation id set to: (.*)", output)
    said = "\n".join(server.wait_line(lambda line: "from client (2)" in line))
    assert said.count(f"context.correlation_id: {correlation}") == 2
    says(said, "b'custom annotation from client (1)'", "b'custom annotation from client (2)'")


# Its two threads agree that there is somebody to call back, before that is needed.
REGISTERED = [
    ("chatter = Chatter()\n", "registered = threading.Event()\nchatter = Chatter()\n"),
    ("daemon.register(self.chatter)", "daemon.register(self.chatter), registered.set()"),
    ("\nchatter.start()", "\nregistered.wait()\nchatter.start()"),
]


def test_chatbox_server(stage, driver):
    # Nor does Python look for a listener that is gone.
    server, _ = stage.rust_serves("chatbox", *driver, env={"ANTIFREEZE_RECONNECT_WINDOW": "0"})

    def joins(nick, *told):
        chatter = stage.script("chatbox/client.py", "den", nick, edits=REGISTERED)
        said = "\n".join(chatter.wait_line(lambda line: "Ready for input!" in line))
        says(said, *told, f"Joined channel den as {nick}")
        return chatter, said

    # Its two threads print into each other's lines.
    def hears(chatter, text):
        chatter.wait_line(lambda line: text in line)

    alice, said = joins("alice", "The server has no active channels.")
    says(said, "People on this channel: alice")
    told = ["The following people are on the server: alice", "The following channels already exist: den"]
    bob, said = joins("bob", *told)
    says(said, "People on this channel: alice, bob")
    hears(alice, "[SERVER] ** bob joined **")
    bob.say("hello")
    hears(alice, "[bob] hello")
    alice.say("hi")
    hears(bob, "[alice] hi")
    alice.kill()
    # The first one may be lost with her.
    bob.say("anyone?")
    bob.say("anyone else?")
    said = server.wait_line(lambda line: line == "Removed dead listener alice")
    assert said == ["CREATING NEW CHANNEL den", "alice JOINED den", "bob JOINED den", "Removed dead listener alice"]
    bob.say("/quit")
    output = finished(bob, 0)
    says(output, "Exit.")
    assert "[bob]" not in output
    assert server.wait_line(lambda line: "LEFT" in line) == ["REMOVED CHANNEL den", "bob LEFT den"]


def test_chatbox_client(stage, driver):
    server, _ = stage.pyro5_serves("chatbox/server.py")
    stage.rust_visits("chatbox", *driver)
    said = server.wait_line(lambda line: line == "alice LEFT rust")
    joined = ["CREATING NEW CHANNEL rust", "alice JOINED rust", "bob JOINED rust"]
    assert said == [*joined, "bob LEFT rust", "REMOVED CHANNEL rust", "alice LEFT rust"]


@pytest.mark.parametrize("ours", NODES)
def test_circular(stage, ours):
    """Some of the three servers are ours, by both drivers."""
    servers = []
    for name, following, is_ours in zip("ABC", "BCA", ours):
        if is_ours == "1":
            threads = ["--threads"] if name == "B" else []
            servers.append(stage.rust("serve", "circular", name, following, *threads))
        else:
            servers.append(stage.script(f"circular/serv{name}.py"))
    for server in servers:
        server.wait_line(lambda line: line == "ready" or line.startswith("Server started"))
    passed = "['passed on from A', 'passed on from B', 'passed on from C', 'complete at A']"
    assert stage.visits("circular/client.py") == f"Result={passed}"


def test_circular_client(stage):
    for name in "ABC":
        stage.pyro5_serves(f"circular/serv{name}.py", ready="Server started")
    stage.rust_visits("circular")


def test_custom_serialization_server(stage, driver):
    server, (uri,) = stage.rust_serves("custom-serialization", *driver)
    output = stage.visits("custom-serialization/client.py", uri)
    says(
        output,
        "type of response object: <class 'mycustomclasses.Thingy'>",
        "number=999",
        "type of response object: <class 'mycustomclasses.OtherThingy'>",
        "number=999",
    )
    says("\n".join(server.wait_line(lambda line: "othermethod" in line)), "Thingy { number: 42 }", "number: 42")


def test_custom_serialization_client(stage):
    server, (uri,) = stage.pyro5_serves("custom-serialization/server.py")
    stage.rust_visits("custom-serialization", uri)
    said = "\n".join(server.wait_line(lambda line: line.startswith("othermethod called")))
    says(said, "method called, arg= <Thingy", "number=42", "othermethod called, arg= <OtherThingy", "number=42")


def derived(secret):
    """The key that the example makes of a secret."""
    number = int(secret, 16)
    return hashlib.sha256(number.to_bytes(number.bit_length() // 8 + 1, "big")).hexdigest()


def test_diffie_hellman_server(stage, driver):
    server, _ = stage.rust_serves("diffie-hellman", *driver)
    output = stage.visits("diffie-hellman/client.py")
    secret = server.wait_line(lambda line: line.startswith("secret = "))[-1]
    says(output, f"shared secret key =  {derived(secret.removeprefix('secret = '))}")


def test_diffie_hellman_client(stage):
    server, _ = stage.pyro5_serves("diffie-hellman/server.py")
    (secret,) = stage.rust_visits("diffie-hellman").splitlines()
    key = derived(secret.removeprefix("secret = "))
    server.wait_line(lambda line: line == f"shared secret key =  {key}")


# The time in which a server closes an idle connection; the client cannot know when it does.
IDLE, LATER = "0.2", 0.5


def test_disconnects_server(stage, driver):
    _, (uri,) = stage.rust_serves("disconnects", *driver, env={"ANTIFREEZE_IDLE_TIMEOUT": IDLE})
    client = stage.script("disconnects/client.py", uri)
    client.wait_line(lambda line: "Client proxy connection is still open" in line)
    time.sleep(LATER)
    client.say("")
    says(finished(client, 0), "REBINDING", "Connection restored", "result = 12345")


def test_disconnects_client(stage):
    edits = [("TIMEOUT = 5.0", f"TIMEOUT = {IDLE}")]
    _, (uri,) = stage.pyro5_serves("disconnects/server.py", edits=edits)
    client = stage.rust("visit", "disconnects", uri)
    client.wait_line(lambda line: line == "continue?")
    time.sleep(LATER)
    client.say("")
    finished(client, 0)


# Numbers with factors that Python finds soon.
SMALL = [("randint(3211, 4999999)", "randint(3211, 9999)"), ("randint(3211, 999999)", "randint(3211, 9999)")]


def check_factors(output, pattern, count):
    """Fails unless it prints so many numbers with their prime factors."""
    found = re.findall(pattern, output, re.MULTILINE)
    assert len(found) == count
    for number, factors in found:
        factors = [int(factor) for factor in factors.split(", ")]
        assert math.prod(factors) == int(number)
        assert not any(factor % divisor == 0 for factor in factors for divisor in range(2, math.isqrt(factor) + 1))


@pytest.mark.parametrize("ours", NODES)
def test_distributed_computing(stage, driver, ours):
    """Some of dispatcher, worker and client are ours."""
    dispatcher_is_ours, worker_is_ours, client_is_ours = (node == "1" for node in ours)
    if dispatcher_is_ours:
        stage.rust_serves("distributed-computing", *driver)
    else:
        stage.pyro5_serves("distributed-computing/dispatcher.py")
    if worker_is_ours:
        worker = stage.rust("visit", "distributed-computing", "worker")
    else:
        worker = stage.script("distributed-computing/worker.py")
    worker.wait_line(lambda line: line == "getting work from dispatcher.")
    if client_is_ours:
        output = stage.rust_visits("distributed-computing")
    else:
        output = stage.visits("distributed-computing/client.py", edits=SMALL)
        name = "a worker in Rust" if worker_is_ours else f"Worker_{worker.child.pid}@"
        assert output.count(f"(from {name}") == 40
    check_factors(output, r"^(\d+) --> \[(.*)\]$", 40)


@pytest.fixture
def alice(stage, tmp_path, monkeypatch):
    """A book, and its most frequent words with their numbers, as the example's own counter has them."""
    folder = stage.examples / "distributed-computing2"
    with zipfile.ZipFile(folder / "alice.zip") as archive:
        book = archive.extract("alice.txt", tmp_path)
    with open(book, encoding="utf-8") as file:
        lines = file.read().splitlines()
    monkeypatch.setattr(time, "sleep", lambda _: None)
    counts = runpy.run_path(str(folder / "servers.py"))["WordCounter"]().count(lines)
    monkeypatch.undo()
    # Of words that are as frequent as each other, ours come in the order of the alphabet.
    words = sorted(counts.items(), key=lambda count: (-count[1], count[0]))
    return book, [f"  {word} ({number})" for word, number in words[:5]]


def test_distributed_computing2_server(stage, driver, alice):
    stage.rust_serves("distributed-computing2", *driver)
    archive = stage.examples / "distributed-computing2" / "alice.zip"
    output = stage.visits("distributed-computing2/client.py", edits=[('"alice.zip"', repr(str(archive)))])
    _, words = alice
    says(output, "using a single counter", *words, "using multiple parallel counters", *words)


def test_distributed_computing2_client(stage, alice):
    stage.forget(prefix="example.dc2.")
    stage.pyro5_serves("distributed-computing2/servers.py", ready="Spinning up 5 word counters")
    stage.await_name("example.dc2.dispatcher")
    book, words = alice
    assert stage.rust_visits("distributed-computing2", book).splitlines() == words


def test_distributed_computing3_server(stage, driver):
    stage.forget(prefix="Worker_")
    servers = [stage.rust_serves("distributed-computing3", *driver)[0] for _ in range(2)]
    output = stage.visits("distributed-computing3/client.py", edits=[("range(100)", "range(20)")])
    check_factors(output, r"^obj_\w+ factorized (\d+): \[(.*)\]$", 20)
    # Each of them got some.
    for server in servers:
        server.wait_line(lambda line: line.startswith("factorize request received for "))


def test_distributed_computing3_client(stage):
    stage.forget(prefix="Worker_")
    here = [("Pyro5.socketutil.get_ip_address(None)", "'localhost'")]
    server, _ = stage.pyro5_serves("distributed-computing3/worker.py", ready="Starting up worker", edits=here)
    stage.await_name("Worker_")
    stage.rust_visits("distributed-computing3")
    server.wait_line(lambda line: line.startswith("factorize request received for "))


# Frames that do not depend on how fast they come.
FRAMES = [("time_passed = time.time() - wallclock_start", "time_passed = frames * duration / 2")]


def mandelbrots(stage, serve):
    """The frames that Pyro5's client has computed by two servers."""
    stage.forget(prefix="mandelbrot_")
    for number in "12":
        serve(number)
    output = stage.visits("distributed-mandelbrot/client_asciizoom.py", edits=FRAMES)
    says(output, "2 mandelbrot calculation servers found.")
    return re.findall(r"^.* FPS time=(\S+) width=(\S+)\n((?:.*\n){40})", output, re.MULTILINE)


def test_distributed_mandelbrot_server(stage, driver):
    def by_python(number):
        path = "distributed-mandelbrot/server.py"
        stage.pyro5_serves(path, ready="ready.", arguments=[number])

    expected = mandelbrots(stage, by_python)
    assert [time for time, _, _ in expected] == ["0.00", "15.00"]
    assert mandelbrots(stage, lambda number: stage.rust_serves("distributed-mandelbrot", number, *driver)) == expected


def test_distributed_mandelbrot_client(stage):
    stage.forget(prefix="mandelbrot_")
    for number in "12":
        stage.pyro5_serves("distributed-mandelbrot/server.py", ready="ready.", arguments=[number])
    stage.rust_visits("distributed-mandelbrot")


def test_echoserver_server(stage):
    server, (uri,) = stage.echo()
    output = stage.visits("echoserver/client.py", uri)
    says(output, "from the server: hello", "from the server: [1, 2, 3, 4]")
    says(output, *(f"remote iterator: {word}" for word in ("one", "two", "three")))
    says(output, "caught an exception (expected)", "Remote traceback:", "ValueError: this is the generated error")
    server.rest()


def test_echoserver_client(stage):
    server, (uri,) = stage.python_tool("Pyro5.utils.echoserver", ready="echoserver running")
    stage.rust_visits("echoserver", uri)
    server.rest()


def test_exceptions_server(stage, driver):
    stage.rust_serves("exceptions", *driver)
    # It ends with an error that it does not catch.
    client = stage.script("exceptions/client.py")
    output = finished(client, 1)
    says(
        output,
        "0.2222222222222222",
        "DIVIDE BY ZERO:  integer",
        "DIVIDE BY ZERO:  division by zero",
        "VALUERROR:  a valueerror! Great!",
        "ValueError('a valueerror! Great!'), a valueerror! Great!",
        "ANOTHER ERROR:  a runtime error!",
        "oneway call simply succeeded",
        "UNSERIALIZABLE ERROR:  ",
        "CAUGHT ERROR  >>>  ",
        "a number to divide by 2",
        "This exception occurred remotely (Pyro) - Remote traceback:",
        "<<<<<<< end of Pyro traceback",
        "not catching anything",
    )
    assert "SHOULD NOT HAPPEN" not in output
    says(client.stderr, "Remote traceback:", "a number to divide by 2")


def test_exceptions_client(stage):
    stage.pyro5_serves("exceptions/server.py")
    stage.rust_visits("exceptions")


# They are as good when they are smaller.
SMALLER = [("blobsize = 10*1024*1024", "blobsize = 1024*1024"), ("blobsize = 40*1024*1024", "blobsize = 1024*1024")]


def test_filetransfer_server(stage, driver):
    _, (uri,) = stage.rust_serves("filetransfer", *driver)
    client = stage.script("filetransfer/client.py", uri, "", "", "", "", edits=SMALLER)
    output = finished(client, 0)
    # A thread that fails prints that, and the others go on.
    assert client.stderr == "" and output.count(" done, ") == 8


def test_filetransfer_client(stage):
    here = [('Pyro5.socketutil.get_ip_address("")', "'127.0.0.1'")]
    _, (uri,) = stage.pyro5_serves("filetransfer/server.py", ready="URI:", edits=here)
    stage.rust_visits("filetransfer", uri)


def test_handshake_server(stage, driver):
    server, (uri,) = stage.rust_serves("handshake", *driver)
    output = stage.visits("handshake/client.py", uri, "pancakes")
    says(output, "handshake response data:  ['how', 'are', 'you', 'doing']", "Connection ok!", "done.")
    client = stage.script("handshake/client.py", uri, "cookies")
    assert "Connection ok!" not in finished(client, 1)
    says(client.stderr, "rejected: wrong secret code, connection refused")
    said = server.wait_line(lambda line: "refused" in line)
    says("\n".join(said), "data: 'pancakes'", "accepted", "data: 'cookies'", "refused")


def test_handshake_client(stage):
    _, (uri,) = stage.pyro5_serves("handshake/server.py", ready="When asked")
    stage.rust_visits("handshake", uri)


def test_hugetransfer_server(stage, driver):
    server, (uri,) = stage.rust_serves("hugetransfer", *driver)
    smaller = [("datasize = 5 * 1024 * 1024", "datasize = 512 * 1024")]
    output = stage.visits("hugetransfer/client.py", uri, edits=smaller)
    parts = ("string", "byte", "bytearray")
    says(output, *(f"----test with {part} data----" for part in parts), "----test download via iterator----")
    assert output.count("It took") == 4 and output.count("5 mb.") == 4
    said = server.wait_line(lambda line: "streaming" in line)
    assert said.count(f"received {512 * 1024} bytes") == 30


def test_hugetransfer_client(stage):
    here = [('Pyro5.socketutil.get_ip_address("localhost", workaround127=True)', "'localhost'")]
    _, (uri,) = stage.pyro5_serves("hugetransfer/server.py", edits=here)
    stage.rust_visits("hugetransfer", uri)


def test_instancemode_server(stage, driver):
    stage.rust_serves("instancemode", *driver)
    output = stage.visits("instancemode/client.py")
    _, percall, session, single = re.split("-----[A-Z]+ .*", output)
    assert len(set(percall.split())) == 9
    first, second = session.split(" ..new proxy..")
    mine, yours = set(first.split("\n")) - {""}, set(second.split("\n")) - {""}
    assert len(mine) == len(yours) == 1 and mine != yours
    assert len(set(single.split())) == 1 and len(single.split()) == 9


def test_instancemode_client(stage):
    stage.pyro5_serves("instancemode/server.py")
    stage.rust_visits("instancemode")


def test_maxsize_server(stage):
    _, (uri,) = stage.echo()
    client = stage.script("maxsize/client.py", uri)
    # It expects an error that Pyro5 has, and never raises.
    says(finished(client, 1), "success.", "with a limit on message size")
    says(client.stderr, "ProtocolError: message too large")


def test_maxsize_client(stage):
    _, (uri,) = stage.python_tool("Pyro5.utils.echoserver", ready="echoserver running")
    stage.rust_visits("maxsize", uri)


def test_messagebus_server(stage, driver):
    stage.rust_serves("messagebus", *driver)
    subscriber = stage.script("messagebus/subscriber.py", "")
    subscriber.wait_line(lambda line: line == "Subscribed on weather-forecast")
    publisher = stage.script("messagebus/publisher.py", "Paris")

    def lines(process, words):
        """The next ones with these words, from there on."""
        said = [process.wait_line(lambda line: words in line)[-1] for _ in range(50)]
        return [line.partition(words)[2] for line in said]

    received, sent = lines(subscriber, " data: "), lines(publisher, "Forecast: ")
    assert received == sent and all(forecast.startswith("('Paris', '") for forecast in sent)

    output = stage.visits("messagebus/subscriber_manual_consume.py", "")
    subscribed, unsubscribed = output.split("Unsubscribed from the topic.")
    says(subscribed, "Topics on the bus:  {'weather-forecast'}", "Subscribed on weather-forecast")
    for said in (subscribed, unsubscribed):
        assert len(re.findall(r"    data: \('Paris', '\w+'\)", said)) == 5 and "\nEnd." in said
    waiting = [int(number) for number in re.findall(r"of received messages: (\d+)", unsubscribed)]
    assert waiting == list(range(waiting[0], waiting[0] - 5, -1))


def test_messagebus_client(stage, driver):
    env = {"PYTHONPATH": str(stage.examples / "messagebus")}
    # With its other storage, its threads use each other's proxies when somebody unsubscribes.
    stage.python_tool("messagebus.server", "--storage", "sqlite", ready="storage is sqlite", env=env)
    stage.rust_visits("messagebus", *driver)


def test_nameserverstress_client(stage):
    stage.forget(prefix="stresstest.")
    stage.rust_visits("nameserverstress")


def test_nonameserver_server(stage, driver):
    _, uris = stage.rust_serves("nonameserver", *driver)
    for uri in uris:
        assert stage.visits("nonameserver/client.py", uri).count("Well begun is half done.") == 2
    assert len(uris) == 2


def test_nonameserver_client(stage):
    server, uris = stage.pyro5_serves("nonameserver/server.py", ready="@localhost")
    uris += re.findall("PYRO:.*", server.wait_line(lambda line: "PYRO:" in line)[-1])
    stage.rust_visits("nonameserver", *uris)
    assert len(uris) == 2


def test_ns_metadata_client(stage):
    stage.forget(prefix="example.resource.")
    stage.rust_visits("ns-metadata")
    with Pyro5.api.locate_ns(*stage.nameserver) as names:
        _, tags = names.lookup("example.resource.photoprinter", return_metadata=True)
    assert tags == {"resource:printer", "performance:fast"}


def test_oneway_server(stage, driver):
    server, _ = stage.rust_serves("oneway", *driver)
    output = stage.visits("oneway/client.py", fast=20)
    says(output, "oneway calls done", "no, trying again", "yes!", "the server: The result :)")
    said = server.wait_line(lambda line: line == "work's done!")
    assert said.count("nothing got called, doing nothing") == 4
    # They were called while it worked.
    assert said.index("nothing got called, doing nothing") < said.index("work is done!")
    assert [line for line in said if line.startswith("work work")] == [f"work work.. {n}" for n in range(1, 11)]


def test_oneway_server_2(stage, driver):
    stage.rust_serves("oneway", *driver, second_ms=500)
    output = stage.visits("oneway/client2.py", fast=2)
    says(output, "counter in server is now:  3", "counter is now:  3", "ok, the oneway calls", "counter is now:  6")


def test_oneway_clients(stage):
    server, _ = stage.pyro5_serves("oneway/server.py")
    stage.rust_visits("oneway", "1")
    server.wait_line(lambda line: line == "work's done!")
    stage.pyro5_serves("oneway/server2.py", fast=2)
    stage.rust_visits("oneway", "2", second_ms=500)


def test_resourcetracking_server(stage, driver):
    server, (uri,) = stage.rust_serves("resourcetracking", *driver)
    output = stage.visits("resourcetracking/client.py", uri, "")
    names = re.findall(r"allocating resource\.\.\. (.*)", output)
    says(output, "currently allocated resources: []", "allocated resources: []", "done.")
    said = server.wait_line(lambda line: line == "client disconnects")
    assert [line for line in said if "closing" in line] == [f"Resource: closing {name}" for name in names]
    # One that ends without a word leaves as little.
    client = stage.script("resourcetracking/client.py", uri)
    client.wait_line(lambda line: line.startswith("allocating"))
    server.wait_line(lambda line: line.startswith("service: allocated"))
    server.wait_line(lambda line: line.startswith("service: allocated"))
    client.kill()
    said = server.wait_line(lambda line: line == "client disconnects")
    said += server.wait_line(lambda line: "closing" in line) if sum("closing" in line for line in said) < 1 else []
    output = stage.visits("resourcetracking/client.py", uri, "")
    says(output, "currently allocated resources: []")


def test_resourcetracking_client(stage):
    _, (uri,) = stage.pyro5_serves("resourcetracking/server.py")
    stage.rust_visits("resourcetracking", uri)


def test_servertypes_server(stage, driver):
    stage.rust_serves("servertypes", *driver, second_ms=300)
    output = stage.visits("servertypes/client.py", fast=4)
    says(
        output,
        "Number of completed calls in the server: 0",
        "Number of completed calls in the server: 10",
        "Servertype is thread",
        "Done. Number of completed calls in the server: 5",
    )


@pytest.mark.parametrize("kind", ["t", "m"])
def test_servertypes_client(stage, kind):
    stage.pyro5_serves("servertypes/server.py", kind, fast=2)
    stage.rust_visits("servertypes", second_ms=500)


def test_shoppingcart_server(stage, driver):
    server, _ = stage.rust_serves("shoppingcart", *driver)
    # It ends with an error that it does not catch.
    client = stage.script("shoppingcart/clients.py")
    output = finished(client, 1)
    empty = "The cart now contains: [] (should be empty)"
    says(
        output,
        "Customers currently in the shop: ['Harry', 'Sally', 'shoplifter']",
        f"Harry payed. {empty}",
        "Receipt for Harry.",
        f"Sally payed. {empty}",
        "Exception: attempt to steal a full cart prevented",
        "Harry is attempting to put stuff back",
    )
    says(client.stderr, "DaemonError: unknown object")
    harrys, sallys = (re.findall(f"^{name} buys (.*)", output, re.MULTILINE) for name in ("Harry", "Sally"))
    lines = re.findall(r"^ +(\S+)  (\d+\.\d\d)$", output, re.MULTILINE)
    assert [name for name, _ in lines] == [*harrys, "total:", *sallys, "total:"]
    for bought in (lines[:5], lines[5:]):
        *prices, total = (float(price) for _, price in bought)
        assert sum(prices) == pytest.approx(total)
    said = server.wait_line(lambda line: "trying to shoplift" in line)
    put = [line for line in said if "put into shoppingcart" in line]
    assert len(put) == 12


def test_shoppingcart_client(stage):
    server, _ = stage.pyro5_serves("shoppingcart/shopserver.py")
    stage.rust_visits("shoppingcart")
    said = "\n".join(server.wait_line(lambda line: "trying to shoplift" in line))
    says(said, "(bread put into shoppingcart", "goes to the counter", "Harry leaves.", "shoplifter leaves.")


# The example forks. The other process is ours instead, with one end of the pair as its standard input.
FORK = "os.fork()"
SPAWN = "__import__('subprocess').Popen({command!r}, stdin={end})"


def talk(*messages):
    return [text for message in messages for text in (message, "client got reply: thank you")]


def test_socketpair_server(stage, driver):
    command = [binary("pyro5-examples"), "serve", "socketpair", *driver]
    ours = SPAWN.format(command=command, end="sock1") + ".pid"
    output = stage.visits("socketpair/pair-fork.py", edits=[(FORK, ours)])
    messages = ("hello!", "hello again!", "hello2!", "hello2 again!")
    says(output, *talk(*(f"server got message: {message}" for message in messages)), "The end.")


def test_socketpair_client(stage):
    command = [binary("pyro5-examples"), "visit", "socketpair"]
    # This one plays the child then, with its one end; it ends with the connection.
    ours = SPAWN.format(command=command, end="sock2") + " and sock2.close() or 0"
    output = stage.visits("socketpair/pair-fork.py", edits=[(FORK, ours)])
    says(output, *talk(*(f"server got message:  {message}" for message in ("hello!", "hello again!"))))


@pytest.mark.parametrize("phase", ["phase2", "phase3"])
def test_stockquotes_server(stage, driver, phase):
    stage.rust_serves("stockquotes", *driver)
    client = stage.script(f"stockquotes/{phase}/viewer.py")
    for market in ("nasdaq", "newyork"):
        client.wait_line(lambda line: line == f"found market example.stockmarket.{market}")
    for wanted in ("NASDAQ.AAPL: ", "NYSE.IBM: ", "NASDAQ.MSFT: ", "NASDAQ.AAPL: "):
        client.wait_line(lambda line: line.startswith(wanted))
    assert client.alive()


def test_stockquotes_client(stage):
    stage.pyro5_serves("stockquotes/phase2/stockmarket.py", ready="Stockmarkets available.")
    stage.rust_visits("stockquotes")


def test_streaming_server(stage, driver):
    _, (uri,) = stage.rust_serves("streaming", *driver)
    output = stage.visits("streaming/client.py", uri)
    nine, ten = list(range(1, 10)), list(range(1, 11))
    says(output, "normal list:", f"{nine}", "via iterator:", f"{nine}", "via generator:", f"{nine}")
    says(output, "slow generator:\n" + "".join(f"{n}\n" for n in nine))
    says(output, "property iterator:", f"{ten}", "property generator:", f"{list(range(10))}")


def test_streaming_client(stage):
    _, (uri,) = stage.pyro5_serves("streaming/server.py")
    stage.rust_visits("streaming", uri)


def test_thirdpartylib_server(stage, driver):
    server, (uri,) = stage.rust_serves("thirdpartylib", *driver)
    output = stage.visits("thirdpartylib/client.py", uri)
    says(output, "awesome", "couldn't call weird()", "couldn't call private()")
    assert server.wait_line(lambda line: line == "Weird!")[0] == "Awesome object is called with: how are you?"


@pytest.mark.parametrize("how, script", [("wrapped", "server.py"), ("adapter", "server2.py")])
def test_thirdpartylib_clients(stage, how, script):
    _, (uri,) = stage.pyro5_serves(f"thirdpartylib/{script}", ready="registered, uri:")
    stage.rust_visits("thirdpartylib", uri, how)


def test_timeout_server(stage):
    stage.rust_serves("timeout", second_ms=1000)
    # This one measures: its seconds are seconds.
    client = stage.script("timeout/client.py", fast=1, edits=[("< 0.2", "< 0.8")])
    said = client.wait_line(lambda line: line.startswith("Feel free to abort"))
    assert sum("TimeoutError! As expected!" in line for line in said) == 3
    assert not any(line.startswith("!?") for line in said)
    assert client.alive(), client.stderr


def test_timeout_client(stage):
    stage.pyro5_serves("timeout/server.py", ready="Server ready.", fast=4)
    stage.rust_visits("timeout", second_ms=250)


# As much of three libraries as the example uses.
ZONES = """
import datetime
parse = datetime.datetime.fromisoformat
zone = datetime.timezone(datetime.timedelta(hours=1))
gettz = lambda name: zone
now = lambda name: datetime.datetime.now(zone)
class timezone:
    def __init__(self, name):
        pass
    def localize(self, time):
        return time.replace(tzinfo=zone)
"""


@pytest.fixture
def zones(tmp_path):
    folder = tmp_path / "zones"
    (folder / "dateutil").mkdir(parents=True)
    for name in ("pytz.py", "pendulum.py", "dateutil/tz.py"):
        (folder / name).write_text(ZONES)
    return {"PYTHONPATH": str(folder)}


def test_timezones_server(stage, driver, zones):
    _, (uri,) = stage.rust_serves("timezones", *driver)
    output = stage.visits("timezones/client.py", uri, env=zones)
    noon = "datetime.datetime(2026, 1, 2, 12, 0, 0, 5, tzinfo=datetime.timezone(datetime.timedelta(seconds=3600)))"
    says(output, "1. no timezone", "parsed: datetime.datetime(", *[f"parsed: {noon}"] * 3)


def test_timezones_client(stage, zones):
    _, (uri,) = stage.pyro5_serves("timezones/server.py", env=zones)
    lines = stage.rust_visits("timezones", uri).splitlines()
    assert len(lines) == 3
    for line in lines:
        text, seconds = line.split()
        assert text.endswith("+01:00")
        assert datetime.datetime.fromisoformat(text).timestamp() == pytest.approx(float(seconds), abs=1e-5)


@pytest.mark.parametrize("path", ["example_unix.sock", "\\x00example_unix_antifreeze"])
def test_unixdomainsock_server(stage, driver, path):
    at = path.replace("\\x00", "@")
    server, (uri,) = stage.rust_serves("unixdomainsock", "--at", f"./u:{at}", *driver)
    says(stage.visits("unixdomainsock/client.py", uri), "Response was: Roger!")
    server.wait_line(lambda line: line == "Message received: Hello there!")


def test_unixdomainsock_clients(stage):
    server, (uri,) = stage.pyro5_serves("unixdomainsock/server.py", ready="Server running")
    stage.rust_visits("unixdomainsock", uri)
    server.wait_line(lambda line: line.startswith("Message received"))
    path = "unixdomainsock/abstract_namespace_server.py"
    own = [("example_unix.sock", f"example_unix_{free_port()}")]
    server, uris = stage.pyro5_serves(path, ready="'PYRO:", edits=own)
    stage.rust_visits("unixdomainsock", uris[-1])
    server.wait_line(lambda line: line.startswith("Message received"))


def test_usersession_server(stage, driver):
    server, _ = stage.rust_serves("usersession", *driver)
    client = stage.script("usersession/client.py", "", "")
    output = finished(client, 0)
    # Nobody gets the error of Python's singleton: there is no second writer to our object.
    assert client.stderr == "" and output.count("] num=") == 12
    own, shared = output.split("on the Session-Bound Database... (no issues)")[-1].split("(concurrency errors will occur!)")
    for thread in ("Thread-1", "Thread-2"):
        assert re.findall(rf"\[{thread}[^]]*\] num=(\d+)", own) == ["100", "101", "102"]
    said = server.wait_line(lambda line: "retrieve" in line)
    assert any("DB: user user123 stores: number = 42" in line for line in said)


def test_usersession_client(stage):
    server, _ = stage.pyro5_serves("usersession/server.py")
    stage.rust_visits("usersession")
    server.wait_line(lambda line: "for user: user123" in line)


def test_warehouse_server(stage, driver):
    _, (uri,) = stage.rust_serves("warehouse", *driver)
    answers = ["television set", "couch", "", "bike"]
    output = stage.visits("warehouse/phase2/visit.py", uri, *answers)
    first = ["chair", "bike", "flashlight", "laptop", "couch"]
    says(output, "This is Janet.", f"{first}", "'television set']", "This is Henry.", "come again!")
    left = "['chair', 'flashlight', 'laptop', 'television set']"
    output = stage.visits("warehouse/phase3/visit.py", "", "", "", "")
    assert output.count(left) == 4


def test_warehouse_clients(stage):
    _, (uri,) = stage.pyro5_serves("warehouse/phase2/warehouse.py")
    stage.rust_visits("warehouse", uri)
    stage.pyro5_serves("warehouse/phase3/warehouse.py")
    stage.rust_visits("warehouse", "PYRONAME:example.warehouse")
