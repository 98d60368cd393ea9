"""A Pyro5 program whose methods do what they are told, a line of JSON each on standard input, and say
what came of it on standard output. It takes no locks; message.rs says what the words mean."""

import json
import queue
import re
import sys
import threading

import Pyro5.api

stage = {}
output = threading.Lock()


def say(said, **rest):
    line = json.dumps({"said": said, **rest})
    with output:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def failure(error):
    told = getattr(error, "antifreeze", None)
    deadlock = None
    if told is not None and getattr(error, "errno", None) == 35:
        deadlock = {name: told[name] for name in ("id", "cycle", "victim", "retry_safe")}
    elif getattr(error, "errno", None) == 35:
        # Within a batch, attributes are lost.
        name = re.search(r"\[(af-\w+)\]", str(error)).group(1)
        deadlock = {"id": name, "cycle": [], "victim": 0, "retry_safe": False}
    return {"text": repr(error)[:4000], "late": False, "deadlock": deadlock}


def call(order):
    with Pyro5.api.Proxy(order["uri"]) as proxy:
        method, callee = order["method"], order["callee"]
        proxy._pyroSerializer = ("serpent", "json", "msgpack")[callee % 3]
        if order["oneway"]:
            proxy._pyroBind()
            proxy._pyroOneway.add(method)
        if order["batch"]:
            batch = Pyro5.api.BatchProxy(proxy)
            getattr(batch, method)(callee)
            list(batch())
        else:
            getattr(proxy, method)(callee)


def perform(frame):
    orders = stage[frame] = queue.SimpleQueue()
    say("entered", frame=frame)
    last = None
    while True:
        order = orders.get()
        if order["do"] == "end":
            break
        try:
            call(order)
        except Exception as error:  # whoever leads looks what it is
            last = error
            say("failed", frame=frame, error=failure(error))
        else:
            say("done", frame=frame)
    del stage[frame]
    say("ended", frame=frame)
    if order["how"] == "fail" and last is not None:
        raise last
    if order["how"] == "panic":
        raise RuntimeError("told to")


def begin(frame):
    try:
        perform(frame)
    except Exception:  # it was told already
        pass


@Pyro5.api.expose
class Puppet:
    def run(self, frame):
        perform(frame)


def obey():
    for line in sys.stdin:
        order = json.loads(line)
        what = order["do"]
        if what == "make":
            say("made")
        elif what == "drop":
            say("dropped", left=[f"frame {frame}" for frame in list(stage)])
        elif what == "look":
            say("waiting", queues=[])
        elif what == "begin":
            threading.Thread(target=begin, args=(order["frame"],), daemon=True).start()
        else:
            stage[order["frame"]].put(order)
    # Whoever started us is gone.
    import os

    os._exit(0)


def main():
    Pyro5.config.SERVERTYPE = sys.argv[1]
    daemon = Pyro5.api.Daemon(host="localhost")
    daemon.register(Puppet(), "puppet")
    threading.Thread(target=obey, daemon=True).start()
    say("ready", place=daemon.locationStr)
    daemon.requestLoop()


main()
