"""The command line against stock Pyro5, and stock clients against what the command line serves."""

import ast
import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import Pyro5.api
import Pyro5.errors
import pytest
from harness import Process, binary

STOCK = [sys.executable, "-m", "Pyro5.utils.echoserver"]
METHODS = {
    "echo", "error", "error_with_text", "oneway_echo", "slow", "generator", "nan", "inf",
    "oneway_slow", "__dunder__", "shutdown",
}


def echo_uri(process):
    line = process.wait_line(lambda line: "PYRO:test.echoserver@" in line)[-1]
    return re.search(r"PYRO:test\.echoserver@\S+", line).group()


@pytest.fixture(scope="module")
def stock_echo():
    with Process(STOCK) as process:
        yield echo_uri(process)


@pytest.fixture(params=["echo", "up"])
def ours(request):
    with Process([binary("antifreeze"), request.param]) as process:
        process.uri = echo_uri(process)
        yield process


def run(*arguments, timeout=30, env=None):
    return subprocess.run(
        [binary("antifreeze"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )


def succeeds(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


LITERALS = [
    "1", "-5", str(2**100), "1.5", "'text'", '"it\'s"', "None", "True", "[1, 'two', None]",
    "{'a': [1, {'b': 2}]}", "'gr\u00fc\u00df \U0001f600'", "[]", "{}", "''",
]


@pytest.mark.parametrize("literal", LITERALS)
def test_call_prints_the_result_as_a_literal(stock_echo, serializer, literal):
    output = succeeds("call", stock_echo, "echo", literal, "--serializer", serializer)
    assert ast.literal_eval(output.strip()) == ast.literal_eval(literal)


@pytest.mark.parametrize("literal", ["(1, 'x')", "{1, 2}", "{1: 'x'}", "1+2j"])
def test_call_with_what_only_serpent_carries(stock_echo, literal):
    output = succeeds("call", stock_echo, "echo", literal)
    assert eval(output) == eval(literal) and type(eval(output)) is type(eval(literal))


def test_call_with_keywords(stock_echo):
    assert succeeds("call", stock_echo, "echo", "message='by name'").strip() == "'by name'"


def test_call_prints_json_on_request(stock_echo):
    output = succeeds("call", stock_echo, "echo", "{'a': (1, None, True)}", "--json")
    assert json.loads(output) == {"a": [1, None, True]}


def test_call_shows_a_remote_exception(stock_echo):
    done = run("call", stock_echo, "error_with_text")
    assert done.returncode == 1 and done.stdout == ""
    assert "ValueError" in done.stderr and "the message of the error" in done.stderr


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["call", "PYRO:test.echoserver@localhost:1", "echo", "1"], "localhost:1"),
        (["call", "nonsense", "echo", "1"], "nonsense"),
        (["meta", "PYRO:test.echoserver@localhost:1"], "localhost:1"),
    ],
)
def test_what_fails_says_so_in_one_line(arguments, text):
    done = run(*arguments)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert text in done.stderr
    assert "panicked" not in done.stderr


def test_call_of_a_missing_method(stock_echo):
    done = run("call", stock_echo, "no_such_method")
    assert done.returncode == 1 and "no_such_method" in done.stderr


def test_call_of_an_unknown_object(stock_echo):
    done = run("call", stock_echo.replace("test.echoserver", "nobody"), "echo", "1")
    assert done.returncode == 1 and "unknown object" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["call"], ["no-such-command"], ["call", "--no-such-option"]])
def test_bad_usage_has_exit_code_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == "" and "Usage" in done.stderr


def test_meta(stock_echo):
    output = succeeds("meta", stock_echo)
    for name in METHODS | {"verbose"}:
        assert re.search(rf"\b{name}\b", output), name


def test_meta_as_json(stock_echo):
    found = json.loads(succeeds("meta", stock_echo, "--json"))
    assert set(found["methods"]) == METHODS
    assert set(found["oneway"]) == {"oneway_echo", "oneway_slow"}
    assert set(found["attrs"]) == {"verbose"}


def test_names_are_resolved(nameserver, stock_echo):
    host, port = nameserver
    with Pyro5.api.locate_ns(host, port) as names:
        names.register("interop.echo", stock_echo)
        assert succeeds("call", f"PYRONAME:interop.echo@{host}:{port}", "echo", "5").strip() == "5"
        names.remove("interop.echo")


def test_the_name_server_is_found_by_the_settings(nameserver, stock_echo):
    host, port = nameserver
    settings = {"ANTIFREEZE_NS_HOST": host, "ANTIFREEZE_NS_PORT": str(port)}
    with Pyro5.api.locate_ns(host, port) as names:
        names.register("interop.echo", stock_echo, metadata={"interop.echo"})
        for uri in ("PYRONAME:interop.echo", "PYROMETA:interop.echo"):
            done = run("call", uri, "echo", "5", env=settings)
            assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr
        names.remove("interop.echo")


# Stock clients of the echo object.


@pytest.mark.not_by("marshal")  # Pyro5's client cannot do it
def test_the_echo_object(ours, serializer):
    with Pyro5.api.Proxy(ours.uri) as proxy:
        proxy._pyroSerializer = serializer
        assert proxy.echo("hello") == "hello"
        assert proxy.echo(message=[1, {"a": None}]) == [1, {"a": None}]
        with pytest.raises(ValueError) as caught:
            proxy.error()
        assert caught.value.args == ("this is the generated error from echoserver echo() method",)
        with pytest.raises(ValueError) as caught:
            proxy.error_with_text()
        assert caught.value.args == ("the message of the error",)
        assert proxy.oneway_echo("x") is None
        assert math.isnan(proxy.nan()) and proxy.inf() == math.inf
        assert proxy.__dunder__() == "should be allowed (dunder)"
        assert proxy.verbose is False
        proxy.verbose = True
        assert proxy.verbose is True
        proxy.verbose = False
        assert proxy._pyroMethods == METHODS
        assert proxy._pyroOneway == {"oneway_echo", "oneway_slow"}
        assert proxy._pyroAttrs == {"verbose"}


def test_slow_and_oneway_slow(ours):
    with Pyro5.api.Proxy(ours.uri) as proxy:
        begun = time.monotonic()
        proxy.oneway_slow()
        assert time.monotonic() - begun < 1
        with Pyro5.api.Proxy(ours.uri) as other:
            assert other.echo(1) == 1, "a slow call blocks others"
            begun = time.monotonic()
            assert other.slow() == "Finally, an answer!"
            assert 4.5 < time.monotonic() - begun < 9


def test_the_generator(ours):
    with Pyro5.api.Proxy(ours.uri) as proxy:
        assert list(proxy.generator()) == ["one", "two", "three"]
        assert proxy.echo(1) == 1


def test_shutdown_ends_the_process_after_the_reply(ours):
    with Pyro5.api.Proxy(ours.uri) as proxy:
        assert proxy.shutdown() is None
    assert ours.wait(15) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(ours, number):
    with Pyro5.api.Proxy(ours.uri) as proxy:
        assert proxy.echo(1) == 1
        os.kill(ours.child.pid, number)
        assert ours.wait(15) == 0


def test_our_client_against_our_server(ours):
    assert succeeds("call", ours.uri, "echo", "[1, 2]").strip() == "[1, 2]"
    found = json.loads(succeeds("meta", ours.uri, "--json"))
    assert set(found["methods"]) == METHODS


def test_echo_on_a_unix_socket(tmp_path):
    path = tmp_path / "echo"
    with Process([binary("antifreeze"), "echo", "-u", str(path)]) as process:
        uri = echo_uri(process)
        assert uri == f"PYRO:test.echoserver@./u:{path}"
        with Pyro5.api.Proxy(uri) as proxy:
            assert proxy.echo("x") == "x"
