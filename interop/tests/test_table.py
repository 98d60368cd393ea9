"""The tables of `table.py`, each row both ways, between all pairs of Python and Rust."""

import ast
import math

import Pyro5.api
import Pyro5.errors
import pytest
from table import CLASSES, LOST, OTHER, REFUSED, ROWS, SAME, alike
from twin import describe

SCALARS = (type(None), bool, int, float, complex, str, bytes)
SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def of(call, *arguments):
    """What a call returns, or `REFUSED`: on whichever side, by whichever error."""
    try:
        return call(*arguments)
    except (TypeError, ValueError, OverflowError, AttributeError, Pyro5.errors.PyroError):
        return REFUSED


def wanted(cell):
    """Whoever calls sees the same whether a value was refused or lost."""
    return REFUSED if cell is LOST else cell


def is_plain(value):
    """Whether both languages say the same of it."""
    if isinstance(value, dict):
        return all(map(is_plain, [*value.keys(), *value.values()]))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_plain, value))
    return type(value) in SCALARS


def literal(value):
    return {repr(special): text for special, text in [(math.inf, "1e999"), (-math.inf, "-1e999")]}.get(
        repr(value), repr(value)
    )


def printed(line):
    """The value of a line that `interop-client` prints."""
    if line == "refused":
        return REFUSED
    return SPECIAL[line] if line in SPECIAL else ast.literal_eval(line)


def no_differences(found):
    wrong = [
        f"{row.name}: {ours!r}, not {expected!r}"
        for row, ours, expected in found
        if expected is not OTHER and not alike(ours, expected)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_comes_back_to_python(server, serializer):
    with server.proxy("values", serializer) as values:
        no_differences(
            (row, of(values.echo, row.value), wanted(row.arrives(serializer, False, False))) for row in ROWS
        )
        assert values.echo("still there") == "still there"


def test_what_python_sends(server, serializer):
    with server.proxy("values", serializer) as values:
        for row in ROWS:
            seen = wanted(row.arrives(serializer, False, server.ours))
            if is_plain(seen):
                # Python cannot say numbers of more than 4300 digits, whoever they are from.
                said = of(describe, seen)
                if said is not REFUSED:
                    assert values.describe(row.value) == said, row.name
            elif seen is REFUSED:
                assert of(values.describe, row.value) is REFUSED, row.name


def test_what_python_receives(server, serializer):
    """A literal has the other side make the value."""
    with server.proxy("values", serializer) as values:
        no_differences(
            (row, of(values.literal, literal(row.value)), wanted(row.arrives(serializer, server.ours, False)))
            for row in ROWS
            if row.literal
        )


def lines(client, scenario, server, serializer, rows):
    literals = [literal(row.value) for row in rows]
    arguments = ["--serializer", serializer, "--", *literals]
    output = client.run(scenario, server.uri("values"), *arguments)
    # Values may contain what `splitlines` takes for the end of one.
    found = output.removesuffix("\n").split("\n")
    assert len(found) == len(rows)
    return found


CLIENTS = pytest.mark.against("pyro5-thread", "pyro5-multiplex", "antifreeze")
LITERALS = [row for row in ROWS if row.literal]


@CLIENTS
def test_what_a_rust_client_sends(server, any_client, serializer):
    seen = lines(any_client, "describe", server, serializer, LITERALS)
    for row, line in zip(LITERALS, seen):
        expected = wanted(row.arrives(serializer, any_client.ours, server.ours))
        if expected is not OTHER:
            assert line == ("refused" if expected is REFUSED else describe(expected)), row.name


@CLIENTS
def test_what_a_rust_client_receives(server, any_client, serializer):
    found = lines(any_client, "literal", server, serializer, LITERALS)
    no_differences(
        (row, printed(line), wanted(row.arrives(serializer, server.ours, any_client.ours)))
        for row, line in zip(LITERALS, found)
        if row.arrives(serializer, server.ours, any_client.ours) is not OTHER
    )


@CLIENTS
def test_what_comes_back_to_a_rust_client(server, any_client, serializer):
    found = lines(any_client, "echo", server, serializer, LITERALS)
    no_differences(
        (row, printed(line), wanted(row.arrives(serializer, any_client.ours, any_client.ours and server.ours)))
        for row, line in zip(LITERALS, found)
        if row.arrives(serializer, any_client.ours, server.ours) is not OTHER
        # What Python may read, it need not be able to send.
        and server.ours == any_client.ours
    )


@CLIENTS
def test_a_rust_client_prints_what_python_does(server, any_client):
    """`repr`, to the letter."""
    rows = [row for row in LITERALS if row.serpent is SAME]
    assert lines(any_client, "echo", server, "serpent", rows) == [repr(row.value) for row in rows]


def test_which_dicts_with_a_class_are_exceptions(server, serializer):
    with server.proxy("values", serializer) as values:
        for sent, expected in CLASSES:
            back = of(values.echo, sent)
            name = back if back is REFUSED else f"{type(back).__module__}.{type(back).__name__}"
            assert name == expected, f"{sent['__class__']} is {back!r}"
            if back is not REFUSED:
                assert (back.args, back.extra) == (("x",), 1)


def test_refused_classes_are_said_to_be(server, serializer):
    for name, error in [
        ("__main__.Point", Pyro5.errors.SecurityError),
        ("builtins.__import__", Pyro5.errors.SecurityError),
        ("elsewhere.Error", Pyro5.errors.SerializeError),
    ]:
        with server.proxy("values", serializer) as values:
            with pytest.raises(error):
                values.echo({"__class__": name, "__exception__": True, "args": []})
