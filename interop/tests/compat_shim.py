"""A plugin for Pyro5's own tests: the daemon that they set up is a process of ours.

`test_compat.py` runs them with it. The tests, and the client that they test with, are Pyro5's.
"""

import os
import signal
import subprocess
import threading
from unittest import mock

import Pyro5.api
import pytest


class OutsideDaemon:
    """In place of `Pyro5.server.Daemon`: another process, which has its objects already."""

    def __init__(self, port=0):
        timeout = Pyro5.api.config.COMMTIMEOUT or 0
        command = [os.environ["COMPAT_SERVER"], os.environ["COMPAT_DRIVER"]]
        command += ["--commtimeout", str(timeout)]
        self._ended = threading.Event()
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            uris = [Pyro5.api.URI(self._child.stdout.readline().strip()) for _ in range(2)]
        except BaseException:
            self.shutdown()
            raise
        self._uris = {uri.object: uri for uri in uris}

    def register(self, obj_or_class, objectId=None, force=False, weak=False):
        if objectId not in self._uris:
            pytest.fail("an object of this process cannot be registered in another one")
        return self._uris[objectId]

    def proxyFor(self, objectId):
        proxy = Pyro5.api.Proxy(self._uris[objectId])
        # One of the daemon's own process knows what the object exposes.
        proxy._pyroBind()
        return proxy

    def requestLoop(self):
        self._ended.wait()

    def shutdown(self):
        self._child.kill()
        code = self._child.wait()
        self._child.stdout.close()
        self._ended.set()
        assert code == -signal.SIGKILL, f"the server has ended by itself, with {code}"


def outside(setup):
    def setup_method(self):
        # Only now: tests that set up a daemon of their own mean Pyro5's.
        with mock.patch("Pyro5.server.Daemon", OutsideDaemon):
            setup(self)

    return setup_method


def pytest_collection_modifyitems(items):
    import test_server

    for case in (test_server.TestServerOnce, test_server.TestServerThreadNoTimeout):
        case.setup_method = outside(case.setup_method)
