"""An object of a plain Pyro5 program, which the example `go_between` has in between."""

from Pyro5.api import Daemon, Proxy, expose


@expose
class GoBetween:
    def pass_on(self, uri, method):
        with Proxy(uri) as other:
            return getattr(other, method)()


daemon = Daemon()
print(daemon.register(GoBetween()), flush=True)
daemon.requestLoop()
