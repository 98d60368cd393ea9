"""Remote attributes."""

import pytest


# By marshal, Pyro5's client fails by itself: it has None for keyword arguments.
pytestmark = pytest.mark.not_by("marshal")


@pytest.fixture
def proxy(server, serializer):
    with server.proxy("attributes", serializer) as proxy:
        yield proxy


def read(proxy, name):
    return proxy._pyroInvoke("__getattr__", (name,), None)


def write(proxy, name, value):
    return proxy._pyroInvoke("__setattr__", (name, value), None)


@pytest.mark.parametrize("value", [5, "text", None, [1, {"a": 2}]])
def test_read_and_write(proxy, value):
    proxy.value = value
    assert proxy.value == value
    assert write(proxy, "value", 6) is None
    assert read(proxy, "value") == 6


def test_read_only(proxy):
    assert proxy.fixed == "fixed"
    with pytest.raises(AttributeError) as caught:
        proxy.fixed = 1
    assert str(caught.value) == "attempt to access unexposed or unknown remote attribute 'fixed'"


def test_an_error_while_reading(proxy):
    with pytest.raises(ValueError, match="cannot be read"):
        proxy.broken
    assert proxy.fixed == "fixed"


@pytest.mark.parametrize("name", ["method", "unexposed", "_private"])
def test_what_is_not_an_attribute_cannot_be_read(proxy, name):
    with pytest.raises(AttributeError) as caught:
        read(proxy, name)
    assert str(caught.value) == f"attempt to access unexposed or unknown remote attribute '{name}'"


@pytest.mark.parametrize("name", ["method", "unexposed", "_private"])
def test_what_is_not_an_attribute_cannot_be_written(proxy, name):
    with pytest.raises(AttributeError) as caught:
        write(proxy, name, 1)
    assert str(caught.value) == f"attempt to access unexposed or unknown remote attribute '{name}'"


@pytest.mark.parametrize("access", [read, lambda proxy, name: write(proxy, name, 1)])
def test_an_unknown_attribute(proxy, access):
    with pytest.raises(AttributeError) as caught:
        access(proxy, "missing")
    assert str(caught.value) in (
        "type object 'Attributes' has no attribute 'missing'",
        "attempt to access unexposed or unknown remote attribute 'missing'",
    )


def test_an_attribute_cannot_be_called(proxy):
    with pytest.raises(AttributeError) as caught:
        proxy._pyroInvoke("value", (), {})
    assert str(caught.value) == "attempt to access unexposed attribute 'value'"


def test_the_proxy_refuses_unknown_attributes_by_itself(proxy):
    with pytest.raises(AttributeError, match="has no exposed attribute 'missing'"):
        proxy.missing = 1
