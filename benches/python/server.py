"""A stock Pyro5 thread server with the benchmarked object.

Prints its URI, serves until standard input ends, then prints a report.
"""

import json
import sys
import threading

import Pyro5.api


@Pyro5.api.expose
class Calculator:
    def add(self, a, b):
        return a + b

    def echo(self, data):
        return data


daemon = Pyro5.api.Daemon(host="127.0.0.1")
print(daemon.register(Calculator(), "calculator"), flush=True)
threading.Thread(target=daemon.requestLoop, daemon=True).start()
sys.stdin.read()
print(json.dumps({"allocations": None}), flush=True)
