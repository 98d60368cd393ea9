"""Exceptions: class, arguments, attributes and traceback as a Python client gets them."""

import builtins

import Pyro5.errors
import pytest

BUILTINS = [
    "ArithmeticError", "AssertionError", "AttributeError", "EOFError", "ImportError", "IndexError",
    "KeyError", "LookupError", "NameError", "NotImplementedError", "OSError", "OverflowError",
    "PermissionError", "RuntimeError", "StopIteration", "TimeoutError", "TypeError", "ValueError",
    "ZeroDivisionError",
]


@pytest.mark.parametrize("name", BUILTINS)
def test_builtin_exceptions(server, serializer, name):
    with server.proxy("errors", serializer) as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        with pytest.raises(Exception) as caught:
            proxy.builtin(name, "the text")
        assert type(caught.value) is getattr(builtins, name)
        assert caught.value.args == ("the text",)
        with pytest.raises(ValueError):
            proxy.no_arguments()
        assert proxy._pyroConnection is connection, "the connection was lost"


@pytest.mark.parametrize("name", ["PyroError", "NamingError", "DaemonError"])
def test_pyro_errors(server, serializer, name):
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(Pyro5.errors.PyroError) as caught:
            proxy.pyro(name, "the text")
        assert type(caught.value) is getattr(Pyro5.errors, name)
        assert caught.value.args == ("the text",)


def test_a_security_error_is_answered(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(Pyro5.errors.SecurityError) as caught:
            proxy.pyro("SecurityError", "no")
        assert caught.value.args == ("no",)


@pytest.mark.against("antifreeze")  # Pyro5 closes the connection without an answer
@pytest.mark.parametrize("name", ["CommunicationError", "ConnectionClosedError", "TimeoutError", "ProtocolError"])
def test_a_communication_error_raised_on_purpose_is_answered(server, serializer, name):
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(Pyro5.errors.PyroError) as caught:
            proxy.pyro(name, "the text")
        assert "the text" in str(caught.value)
        assert caught.value._pyroTraceback, "it was made up by the client"


def test_arguments_of_an_exception(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(KeyError) as caught:
            proxy.arguments()
        assert caught.value.args == ("a", 2, None, [1.5])
        with pytest.raises(ValueError) as caught:
            proxy.no_arguments()
        assert caught.value.args == ()


def test_attributes_of_an_exception(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(ValueError) as caught:
            proxy.attributes()
        assert caught.value.args == ("with attributes",)
        assert caught.value.code == 42
        assert caught.value.details == {"a": [1, 2]}


def test_the_traceback(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(RuntimeError) as caught:
            proxy.builtin("RuntimeError", "the text")
        lines = caught.value._pyroTraceback
        assert isinstance(lines, list) and all(isinstance(line, str) for line in lines)
        assert lines[0] == "Traceback (most recent call last):\n"
        assert lines[-1].startswith("RuntimeError: the text")
        text = "".join(Pyro5.errors.get_pyro_traceback(type(caught.value), caught.value, caught.tb))
        assert "Remote traceback:" in text and "RuntimeError: the text" in text


def test_the_traceback_tells_the_whole_chain_of_causes(server, serializer):
    cause = "invalid digit found in string" if server.ours else "invalid literal for int()"
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(RuntimeError) as caught:
            proxy.chain()
        text = "".join(caught.value._pyroTraceback)
        assert "cannot load settings" in text and cause in text


def test_an_os_error(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(OSError) as caught:
            proxy.os_error()
        assert caught.value.errno == 2
        assert "No such file" in caught.value.strerror


def test_a_custom_exception_class_is_a_clear_error(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        # `__main__.Custom` from the twin: refused for its underscores. We send what can be rebuilt.
        expected = (RuntimeError, "custom.Custom: it is custom")
        if not server.ours:
            expected = (Pyro5.errors.SecurityError, "refused to deserialize types with double underscores")
        with pytest.raises(expected[0]) as caught:
            proxy.custom()
        assert expected[1] in str(caught.value)
        with pytest.raises(ValueError):
            proxy.no_arguments()


@pytest.mark.against("antifreeze")  # kinds of Rust errors
@pytest.mark.parametrize(
    "method, error, text",
    [
        ("parse", ValueError, "invalid digit found in string"),
        ("parse_float", ValueError, "invalid float literal"),
        ("text_error", RuntimeError, "only a text"),
        ("panics", RuntimeError, "it panicked"),
        ("utf8", ValueError, "invalid utf-8"),
    ],
)
def test_rust_errors(server, serializer, method, error, text):
    with server.proxy("errors", serializer) as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        with pytest.raises(error) as caught:
            getattr(proxy, method)()
        assert text in str(caught.value)
        assert text in "".join(caught.value._pyroTraceback)
        with pytest.raises(ValueError):
            proxy.no_arguments()
        assert proxy._pyroConnection is connection


@pytest.mark.against("antifreeze")  # json cannot hold bytes; Pyro5 closes the connection
def test_a_result_that_cannot_be_encoded(server):
    with server.proxy("errors", "json") as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        with pytest.raises(TypeError, match="bytes"):
            proxy.unencodable()
        with pytest.raises(ValueError):
            proxy.no_arguments()
        assert proxy._pyroConnection is connection


@pytest.mark.against("antifreeze")
def test_a_panic_under_the_lock_lets_go_of_it(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="it panicked"):
                proxy.panics_alone()


@pytest.mark.parametrize("method, error, args", [
    ("no_arguments", ValueError, ()),
    ("arguments", KeyError, ("a", 2, None, [1.5])),
    ("attributes", ValueError, ("with attributes",)),
])
def test_an_exception_through_a_middle_hop_keeps_its_class(server, start, serializer, method, error, args):
    """The server in the middle calls the same method of a stock Pyro5 server."""
    far = start("pyro5-thread")
    with server.proxy("errors", serializer) as proxy:
        with pytest.raises(error) as caught:
            proxy.forward(far.uri("errors"), method)
        assert caught.value.args == args
        if method == "attributes":
            assert caught.value.code == 42 and caught.value.details == {"a": [1, 2]}


@pytest.mark.against("antifreeze")  # in Pyro5 the caller hears nothing but the end of the connection
def test_a_nested_connection_failure_is_answered_with_a_pyro_error(server, serializer):
    with server.proxy("errors", serializer) as proxy:
        proxy._pyroBind()
        connection = proxy._pyroConnection
        with pytest.raises(Pyro5.errors.PyroError) as caught:
            proxy.forward("PYRO:errors@localhost:1", "no_arguments")
        assert not isinstance(caught.value, Pyro5.errors.CommunicationError)
        assert proxy._pyroConnection is connection
