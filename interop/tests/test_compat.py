"""Pyro5's own tests of its server, from its source distribution, against a server of ours."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import binary

HERE = Path(__file__).resolve().parent

# Two drivers run at once would only share the machine, and these tests look at the clock.
PATIENCE = 300

# What cannot apply from outside, with the failure that shows why.
REGISTERS = "Failed: an object of this process cannot be registered in another one"
# How a client sends objects of a class is changed by a daemon of its own process that has one of them.
SENDS = "AssertionError: non-pyro object must be returned as normal class"
# These configure the linger time of streams, of their own process.
CONFIGURES = "Failed: DID NOT RAISE <class 'Pyro5.errors.PyroError'>"
KINDS = ("ServerThreadNoTimeout", "ServerMultiplexNoTimeout", "ServerThreadTimeout", "ServerMultiplexTimeout")
OUTSIDE = {
    "TestServerOnce::testAutoProxy": SENDS,
    **{f"TestServerOnce::{test}": REGISTERS for test in ("testRegisterWeak", "testResourceFreeing")},
    **{f"Test{kind}::{test}": CONFIGURES for kind in KINDS for test in ("testGeneratorLinger", "testGeneratorNoLinger")},
}


@pytest.mark.timeout(PATIENCE + 30)
@pytest.mark.parametrize("driver", ["--multiplex", "--threads"])
def test_pyro5s_own_tests_of_its_server(pyro5_source, driver):
    tests = pyro5_source / "tests"
    command = [sys.executable, "-m", "pytest", "-p", "compat_shim", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(tests), "-rA", "--tb=short", "--timeout=60"]
    command += ["-k", "TestServerOnce or NoTimeout or Timeout"]
    command += ["test_server.py", "test_server_timeout.py"]
    environment = {
        **os.environ,
        "COLUMNS": "1000",  # so that reasons are not cut
        "COMPAT_SERVER": binary("examples/compat_server"),
        "COMPAT_DRIVER": driver,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(tests)]),
    }
    output = run(command, tests, environment)
    failed = re.findall(r"^(?:FAILED|ERROR) \S+?::(\S+) - (.*)$", output, re.MULTILINE)
    assert sorted(failed) == sorted(OUTSIDE.items()), output[-8000:]
    # Nor were there errors, or tests that were skipped.
    (summary,) = re.findall(r"^=+ (\d+ .*) in .*=+$", output, re.MULTILINE)
    assert re.fullmatch(r"11 failed, 73 passed, \d+ deselected(, \d+ warnings?)?", summary), output[-8000:]


def run(command, folder, environment):
    """What it prints. If it does not end in time, it is ended together with the servers that it has started."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    child = subprocess.Popen(command, cwd=folder, env=environment, text=True, start_new_session=True, **pipes)
    try:
        return child.communicate(timeout=PATIENCE)[0]
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
