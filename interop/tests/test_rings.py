"""Rings of three: ours, with locks, and Pyro5's in between."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import Client
from rings import PYTHON, RUST, call, call_all, check_free, check_one_victim

MIXES = list(itertools.combinations_with_replacement(RUST + PYTHON, 3))


def try_mix(mix, ring):
    """All that a ring of this mix shall do: a chain that goes once around, and comes back."""
    ours = [node for node in ring if node.ours]
    if not ours:
        path = [*ring, ring[0]] if "multiplex" not in mix else ring
        outcome, _ = call("pass_on", path, 10)
        assert outcome == [node.uri for node in path]
        return
    first = ring.index(ours[0])
    path = [*ring[first:], *ring[:first], ring[first]]
    # With a lock, it comes back to what it holds itself.
    for method in ("hop", "hop_lock"):
        outcome = call(method, path, 10)
        told = check_one_victim([outcome], ours[:1], f"node.{method}")
        assert told["kind"] == "self_lock", told
        client = Client(*["--tasks"] * (method == "hop_lock"))
        text = client.run("deadlock", path[0].uri, method, *(node.uri for node in path[1:]))
        assert path[0].place in text and f"node.{method}" in text
    # Chains that cross, from each that has a lock to the next one.
    if len(ours) > 1:
        starts = [place for place, node in enumerate(ring) if node.ours]
        ends = [*starts[1:], starts[0] + len(ring)]
        chains = [(ring * 2)[start : end + 1] for start, end in zip(starts, ends)]
        told = check_one_victim(call_all("hop", chains), ours, "node.hop")
        assert told["kind"] == "cycle", told
    # Without one, it comes back as it likes.
    for method in ("peek", "pass_on"):
        outcome, _ = call(method, path, 10)
        assert outcome == [node.uri for node in path]
    check_free(ring)


@pytest.mark.timeout(180)
def test_every_mix_of_three_with_locks_and_without(nodes):
    def run(mix):
        ring = nodes(*mix)
        try:
            try_mix(mix, ring)
        except BaseException as error:
            raise AssertionError(f"in a ring of {', '.join(mix)}") from error
        finally:
            for node in ring:
                node.kill()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, MIXES))
