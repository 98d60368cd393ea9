"""Fixtures. `server` runs a test against Antifreeze and, as a control that the test itself is
right, against the same objects served by Pyro5."""

import sys
from concurrent.futures import ThreadPoolExecutor

import Pyro5.api
import pytest
import source
from harness import Client, Process, Server, StockClient
from rings import Node

BOTH = ("antifreeze", "pyro5-thread")
SERIALIZERS = ("serpent", "marshal", "json", "msgpack")


def pytest_addoption(parser):
    parser.addoption(
        "--server",
        default="",
        metavar="KIND",
        help="only against servers whose kind begins so: antifreeze, antifreeze-threads, pyro5",
    )


def pytest_generate_tests(metafunc):
    if "server" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("against")
        chosen = metafunc.config.getoption("server")
        asked = marker.args if marker else BOTH
        # What we promise, both of our drivers keep.
        kinds = [*asked, *["antifreeze-threads"] * ("antifreeze" in asked)]
        kinds = [kind for kind in kinds if kind.startswith(chosen)]
        metafunc.parametrize("server", kinds, indirect=True, scope="session")
    if "serializer" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("not_by")
        refused = marker.args if marker else ()
        metafunc.parametrize("serializer", [by for by in SERIALIZERS if by not in refused])


_running = {}


@pytest.fixture(scope="session")
def server(request):
    """A server of the kind that the test asks for; one process of each kind serves all tests."""
    kind = request.param
    if kind not in _running or not _running[kind].alive():
        _running[kind] = Server(kind)
    return _running[kind]


def pytest_sessionfinish():
    for process in _running.values():
        process.kill()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows what the server said, with the test that failed."""
    outcome = yield
    report = outcome.get_result()
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and server is not None:
        if server.stderr:
            report.sections.append((f"standard error of {server.kind}", server.stderr[-4000:]))
        if not server.alive():
            report.sections.append((server.kind, f"exit code {server.child.returncode}"))


@pytest.fixture
def start(request):
    """Starts servers that live as long as the test."""
    started = []

    def start(kind, *flags, env=None):
        process = Server(kind, *flags, env=env)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def nodes():
    """Starts nodes of these kinds, which live as long as the test."""
    started = []

    def start(*kinds):
        with ThreadPoolExecutor() as pool:
            new = list(pool.map(Node, kinds))
        started.extend(new)
        return new

    yield start
    for node in started:
        node.kill()


@pytest.fixture(params=[(), ("--tasks",)], ids=["threads", "tasks"])
def client(request):
    """The Rust client: its proxy of threads, and that of tasks."""
    return Client(*request.param)


@pytest.fixture(
    params=[Client, lambda: Client("--tasks"), StockClient], ids=["threads", "tasks", "stock"]
)
def any_client(request):
    """The Rust client and, as a control, Pyro5's own."""
    return request.param()


@pytest.fixture(scope="session")
def pyro5_source():
    """The folder of Pyro5's source distribution, with its `examples` and `tests`."""
    return source.fetch()


@pytest.fixture
def context():
    """The call context of this thread, clean before and after."""
    current = Pyro5.api.current_context

    def clear():
        current.annotations = {}
        current.response_annotations = {}
        current.correlation_id = None

    clear()
    yield current
    clear()


@pytest.fixture(scope="session")
def nameserver():
    """A stock Pyro5 name server on a free port; yields (host, port)."""
    command = [sys.executable, "-m", "Pyro5.nameserver", "-n", "localhost", "-p", "0", "-x"]
    with Process(command) as process:
        lines = process.wait_line(lambda line: line.startswith("URI = "))
        uri = Pyro5.api.URI(lines[-1].removeprefix("URI = "))
        yield uri.host, uri.port
