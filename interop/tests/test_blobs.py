"""Serialized blobs: stock clients and servers in any order with ours, by all serializers."""

import itertools

import pytest
from conftest import SERIALIZERS
from Pyro5.client import SerializedBlob

# By marshal, Pyro5 makes a list of whatever it is.
DATA = [{"numbers": [1, 2.5]}, "gr\u00fc\u00df", [[None]]]
KINDS = ("pyro5-thread", "antifreeze", "antifreeze-threads")


# Pyro5 takes the values in a call by json for the keys of its dict: each blob is the word "params".
BROKEN = "Pyro5 itself cannot decode a blob by json"


def test_a_blob_arrives(server, serializer):
    if not server.ours and serializer == "json":
        pytest.skip(BROKEN)
    with server.proxy("blobs", serializer) as blobs:
        assert blobs.take(SerializedBlob("about", DATA)) == ["about", DATA]
        assert blobs.take(SerializedBlob({"a": [1]}, [])) == [{"a": [1]}, []]


@pytest.mark.parametrize("kinds", itertools.permutations(KINDS, 2), ids="-to-".join)
def test_a_blob_is_passed_on(start, kinds):
    middle, end = [start(kind) for kind in kinds]
    for serializer in SERIALIZERS:
        if not end.ours and serializer == "json":
            continue
        with middle.proxy("blobs", serializer) as blobs:
            blobs.aim(end.uri("blobs"))
            assert blobs.forward(SerializedBlob("about", DATA)) == ["about", DATA]


@pytest.mark.against("antifreeze", "pyro5-thread")
def test_what_leaves_with_a_blob(client, server, serializer):
    """The Rust client, too, to servers of both."""
    if not server.ours and serializer == "json":
        pytest.skip(BROKEN)
    client.run("blob", server.uri("blobs"), "--serializer", serializer)
