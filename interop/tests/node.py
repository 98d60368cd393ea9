"""The object `node` of the example `ring`, served by Pyro5: it has no lock, and hands calls on.

How it hands them on is its style: by a call, in a batch, by a oneway call after which it is busy for
the time that it is told, or later, when it keeps house, which Pyro does after a request.
"""

import argparse
import sys
import time

import Pyro5.api
from Pyro5.api import BatchProxy, Proxy, expose


@expose
class Node:
    def __init__(self, style, busy_ms):
        self._style = style
        self._busy = busy_ms / 1000
        self._chore = None
        self._kept = None
        self.own = None

    def hop(self, path, hold_ms):
        return self._go_on("hop", path, hold_ms)

    def peek(self, path, hold_ms):
        return self._go_on("peek", path, hold_ms)

    def hop_lock(self, path, hold_ms):
        return self._go_on("hop_lock", path, hold_ms)

    def pass_on(self, path, hold_ms):
        return self._go_on("pass_on", path, hold_ms)

    def kept_house(self):
        """What came of the chore, as text."""
        return self._kept

    def _go_on(self, method, path, hold_ms):
        time.sleep(hold_ms / 1000)
        if not path:
            return [self.own]
        if self._style == "chore":
            self._chore = path[0], method
            return [self.own]
        with Proxy(path[0]) as next_one:
            arguments = path[1:], hold_ms
            if self._style == "oneway":
                next_one._pyroBind()
                next_one._pyroOneway.add(method)
                getattr(next_one, method)(*arguments)
                time.sleep(self._busy)
                return [self.own]
            if self._style == "batch":
                batch = BatchProxy(next_one)
                getattr(batch, method)(*arguments)
                return [self.own, *list(batch())[0]]
            return [self.own, *getattr(next_one, method)(*arguments)]

    def _keep_house(self):
        chore, self._chore = self._chore, None
        if chore:
            uri, method = chore
            try:
                with Proxy(uri) as proxy:
                    self._kept = str(getattr(proxy, method)([], 0))
            except Exception as error:  # the test looks what it is
                self._kept = repr(error)


def serve(daemon, style="call", busy_ms=0):
    node = Node(style, busy_ms)
    node.own = str(daemon.register(node, "node"))
    daemon.housekeeping = node._keep_house
    return node.own


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--servertype", choices=("thread", "multiplex"), default="thread")
    parser.add_argument("--style", choices=("call", "batch", "oneway", "chore"), default="call")
    parser.add_argument("--busy", type=int, default=0, metavar="MS")
    options = parser.parse_args()
    Pyro5.config.SERVERTYPE = options.servertype
    daemon = Pyro5.api.Daemon()
    print(serve(daemon, options.style, options.busy))
    sys.stdout.flush()
    daemon.requestLoop()


if __name__ == "__main__":
    main()
