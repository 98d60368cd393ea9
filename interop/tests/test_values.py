"""Of values, what is no row of a table: times as types, nesting, sizes, proxies."""

import datetime

import Pyro5.api
import pytest

NAIVE = datetime.datetime(2020, 1, 2, 3, 4, 5, 6)
AWARE = NAIVE.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2)))


@pytest.mark.against("antifreeze")  # but for msgpack, Python's server sees text
def test_times_and_dates_are_types_of_their_own(server, serializer):
    with server.proxy("values", serializer) as proxy:
        if serializer == "msgpack":
            assert proxy.later(NAIVE, 1.5) == NAIVE + datetime.timedelta(seconds=1.5)
            assert proxy.next_day(datetime.date(2020, 2, 28)) == datetime.date(2020, 2, 29)
            return
        # Pyro5 marshals no dates, but text is carried by all.
        came = datetime.datetime.fromisoformat(proxy.later(AWARE.isoformat(), 1.5))
        assert came == AWARE + datetime.timedelta(seconds=1.5)
        assert proxy.next_day("2020-02-28") == "2020-02-29"
        with pytest.raises(ValueError, match="with its offset from UTC"):
            proxy.later(NAIVE.isoformat(), 1.5)


@pytest.mark.parametrize("depth", [1, 10, 100, 190])
def test_deep_nesting_within_the_limit(server, serializer, depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    with server.proxy("values", serializer) as proxy:
        assert proxy.echo(value) == value
        assert proxy.nested(depth) == value


@pytest.mark.against("antifreeze")  # Pyro5 answers with its RecursionError for some serializers
def test_a_result_nested_too_deeply_is_an_error_and_the_connection_stays(server, serializer):
    with server.proxy("values", serializer) as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        with pytest.raises((TypeError, ValueError)):
            proxy.nested(5000)
        assert proxy.echo("still there") == "still there"
        assert proxy._pyroConnection is connection


SIZE = 64 * 1024 * 1024


@pytest.mark.parametrize("by, kind", [("serpent", "bytes"), ("marshal", "bytes"), ("json", "str"), ("msgpack", "bytes")])
def test_64_mebibytes_in_each_direction(server, by, kind):
    with server.proxy("values", by, timeout=50) as proxy:
        sent = b"y" * SIZE if kind == "bytes" else "y" * SIZE
        # Over serpent bytes arrive as a dict of two, whatever their length.
        assert proxy.length(sent) == (2 if by == "serpent" else SIZE)
        back = proxy.filled(kind, SIZE)
        if by == "serpent":
            assert back["encoding"] == "base64" and len(back["data"]) == (SIZE + 2) // 3 * 4
        else:
            assert len(back) == SIZE and back[:1] == back[-1:] == (b"x" if kind == "bytes" else "x")


def test_a_proxy_is_a_value_too(server, serializer):
    with server.proxy("values", serializer) as proxy:
        back = proxy.echo(server.proxy("calc"))
        assert isinstance(back, Pyro5.api.Proxy)
        with back:
            assert back.add(1, 2) == 3
