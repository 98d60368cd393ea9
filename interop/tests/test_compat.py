"""Pyro5's own tests of its server, from its source distribution, against a server of ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import binary

HERE = Path(__file__).resolve().parent

# Two drivers run at once would only share the machine, and these tests look at the clock.
PATIENCE = 300

# What cannot apply from outside, each with the reason.
OUTSIDE = {
    "testAutoProxy": "registers an object of the test's own process in the daemon",
    "testRegisterWeak": "registers an object of the test's own process in the daemon",
    "testResourceFreeing": "registers an object of the test's own process in the daemon",
    "testGeneratorLinger": "changes the daemon's configuration, which is another process's",
    "testGeneratorNoLinger": "changes the daemon's configuration, which is another process's",
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
        "COMPAT_SERVER": binary("examples/compat_server"),
        "COMPAT_DRIVER": driver,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(tests)]),
    }
    done = subprocess.run(
        command,
        cwd=tests,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    found = re.findall(r"^(PASSED|FAILED|ERROR) \S+?::(\S+)", done.stdout, re.MULTILINE)
    passed = {test for outcome, test in found if outcome == "PASSED"}
    failed = {test for outcome, test in found if outcome != "PASSED"}
    unexpected = {test for test in failed if test.split("::")[1] not in OUTSIDE}
    assert not unexpected, f"{sorted(unexpected)}\n{done.stdout[-8000:]}{done.stderr[-2000:]}"
    assert (len(passed), len(failed)) == (73, 11), sorted(failed)
