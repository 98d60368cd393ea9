"""Objects of classes that Pyro5 does not know by itself."""

import Pyro5.errors
import pytest
from shop import Order


class Unknown:
    """Of a class that no other program has heard of."""


Unknown.__module__ = "elsewhere"


def same(order, id, items):
    return type(order) is Order and (order.id, order.items) == (id, items)


def test_an_object_goes_both_ways(server, serializer):
    with server.proxy("shop", serializer) as shop:
        assert same(shop.add(Order(7, ["tea"]), "milk"), 7, ["tea", "milk"])
        assert same(shop.add(item="milk", order=Order(7, [])), 7, ["milk"])


@pytest.mark.not_by("marshal")  # Pyro5 marshals no objects that are not on top
def test_objects_within_others_go_both_ways(server, serializer):
    with server.proxy("shop", serializer) as shop:
        orders = shop.turn([Order(1, ["a"]), Order(2, [])])
        assert len(orders) == 2 and same(orders[0], 2, []) and same(orders[1], 1, ["a"])


@pytest.mark.against("antifreeze")
def test_objects_within_others_come_by_marshal_as_well(server):
    with server.proxy("shop", "marshal") as shop:
        assert same(shop.pair(3)[1], 3, ["x"])


@pytest.mark.not_by("marshal")
def test_objects_within_objects_are_made_from_the_top(server, serializer):
    """But for msgpack, which makes the inner ones first."""
    with server.proxy("values", serializer) as values:
        back = values.echo(Order(1, [Order(2, [])]))
        assert type(back) is Order and back.id == 1
        inner = back.items[0]
        if serializer == "msgpack":
            assert same(inner, 2, [])
        else:
            assert inner == {"__class__": "shop.Order", "id": 2, "items": []}


@pytest.mark.against("antifreeze")  # Pyro5's server refuses classes that it was not told of
def test_an_object_of_another_class_is_refused(server, serializer):
    with server.proxy("shop", serializer) as shop:
        with pytest.raises(TypeError, match="expected shop.Order, got elsewhere.Unknown"):
            shop.add(Unknown(), "milk")
        assert same(shop.add(Order(1, []), "milk"), 1, ["milk"])


@pytest.mark.against("antifreeze")
def test_a_dict_without_a_class_will_do(server, serializer):
    with server.proxy("shop", serializer) as shop:
        assert same(shop.add({"id": 1, "items": []}, "milk"), 1, ["milk"])
        with pytest.raises(TypeError, match="the key `items` is missing"):
            shop.add({"id": 1}, "milk")


def test_a_class_without_a_converter_is_refused_by_the_client(server):
    with server.proxy("shop", "json") as shop:
        with pytest.raises(Pyro5.errors.SerializeError, match="unsupported serialized class: shop.Basket"):
            shop.basket()
