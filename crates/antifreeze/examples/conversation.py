"""The example `conversation` as it is under Pyro5: it prints its first line, and then hangs for ever.

    python3 -m pip install Pyro5
    python3 crates/antifreeze/examples/conversation.py
"""

import threading

from Pyro5.api import Daemon, Proxy, expose


@expose
class Obj1:
    def __init__(self):
        self.fooLock = threading.BoundedSemaphore()

    def GetFoosLikeABar(self):
        with Proxy(obj2_uri) as obj2, self.fooLock:
            return [foo for foo in (1, 2, 3) if obj2.IsFooLikeABar(foo)]


@expose
class Obj2:
    def __init__(self):
        self.barLock = threading.BoundedSemaphore()

    def IsFooLikeABar(self, foo):
        with self.barLock:
            return foo in (2, 3, 4)

    def ComposeBars(self):
        with Proxy(obj1_uri) as obj1, self.barLock:
            return len(obj1.GetFoosLikeABar())  # <--- Deadlock


daemon = Daemon()
obj1_uri, obj2_uri = daemon.register(Obj1()), daemon.register(Obj2())
threading.Thread(target=daemon.requestLoop, daemon=True).start()

with Proxy(obj1_uri) as obj1, Proxy(obj2_uri) as obj2:
    print("foos like a bar:", obj1.GetFoosLikeABar(), flush=True)
    print(obj2.ComposeBars())
