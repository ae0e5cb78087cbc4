"""Trees and proofs of RFC 9162: published vectors, and every small tree against the definition."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.merkle import EMPTY_ROOT, Frontier, InvalidProof, Node, Range

ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The entries and roots of Certificate Transparency's reference implementation."""


def tree_hash(entries: list[bytes]) -> bytes:
    """MTH as RFC 9162 section 2.1.1 defines it."""
    if not entries:
        return sha256().digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return sha256(b"\1" + tree_hash(entries[:split]) + tree_hash(entries[split:])).digest()


def entries_of(size: int) -> list[bytes]:
    return [index.to_bytes(4) for index in range(size)]


def hash_of(entries: list[bytes]):
    return lambda node: tree_hash(entries[node.index << node.level : (node.index + 1) << node.level])


def inclusion(index: int, entries: list[bytes]) -> list[bytes]:
    return merkle.proof(merkle.inclusion_ranges(index, len(entries)), hash_of(entries))


def consistency(old: int, entries: list[bytes]) -> list[bytes]:
    return merkle.proof(merkle.consistency_ranges(old, len(entries)), hash_of(entries))


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_implementation(size):
    assert merkle.root_of(map(merkle.leaf_hash, ENTRIES[:size])).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing():
    assert Frontier().root() == EMPTY_ROOT == sha256(b"").digest()


@given(st.lists(st.integers(0, 40), max_size=6))
def test_a_frontier_grows_as_the_tree_does_in_steps_of_any_size(steps):
    frontier, entries = Frontier(), []
    for step in steps:
        more = [(len(entries) + index).to_bytes(4) for index in range(step)]
        entries += more
        frontier.extend(map(merkle.leaf_hash, more))

    assert frontier.size == len(entries)
    assert frontier.root() == tree_hash(entries)
    assert Frontier(frontier.size, frontier.hashes).root() == tree_hash(entries)


def test_a_frontier_has_a_hash_for_each_perfect_subtree():
    with pytest.raises(ValueError, match="7 leaves has 3 perfect subtrees, not 1"):
        Frontier(7, [EMPTY_ROOT])


@pytest.mark.parametrize("size", [*range(1, 34), 255, 256, 257])
def test_every_leaf_of_a_tree_can_be_proven(size):
    entries = entries_of(size)
    root = tree_hash(entries)
    for index in {*range(min(size, 33)), size - 1, size // 2}:
        merkle.verify_inclusion(merkle.leaf_hash(entries[index]), index, size, inclusion(index, entries), root)


@pytest.mark.parametrize("new", range(34))
def test_every_older_tree_can_be_proven_to_be_a_part(new):
    entries = entries_of(new)
    for old in range(new + 1):
        hashes = consistency(old, entries)
        merkle.verify_consistency(old, tree_hash(entries[:old]), new, tree_hash(entries), hashes)


@given(st.data())
def test_no_change_of_an_inclusion_proof_goes_unnoticed(data):
    size = data.draw(st.integers(1, 60))
    index = data.draw(st.integers(0, size - 1))
    entries = entries_of(size)
    leaf, hashes, root = merkle.leaf_hash(entries[index]), inclusion(index, entries), tree_hash(entries)
    other = EMPTY_ROOT
    changes = [
        (other, index, size, hashes, root),
        (leaf, index, size, hashes, other),
        (leaf, index, size, [*hashes, other], root),
        (leaf, size, size, hashes, root),
        (leaf, -1, size, hashes, root),
    ]
    if hashes:
        position = data.draw(st.integers(0, len(hashes) - 1))
        changes += [
            (leaf, index, size, hashes[:position] + hashes[position + 1 :], root),
            (leaf, index, size, [*hashes[:position], other, *hashes[position + 1 :]], root),
        ]
        elsewhere = data.draw(st.integers(0, size - 1).filter(lambda place: place != index))
        changes.append((leaf, elsewhere, size, hashes, root))
    for changed in changes:
        with pytest.raises(InvalidProof):
            merkle.verify_inclusion(*changed)


@given(st.data())
def test_no_change_of_a_consistency_proof_goes_unnoticed(data):
    new = data.draw(st.integers(2, 60))
    old = data.draw(st.integers(1, new - 1))
    entries = entries_of(new)
    hashes, before, after = consistency(old, entries), tree_hash(entries[:old]), tree_hash(entries)
    other = EMPTY_ROOT
    position = data.draw(st.integers(0, len(hashes) - 1))
    changes = [
        (old, other, new, after, hashes),
        (old, before, new, other, hashes),
        (old, before, new, after, [*hashes, other]),
        (old, before, new, after, hashes[:position] + hashes[position + 1 :]),
        (old, before, new, after, [*hashes[:position], other, *hashes[position + 1 :]]),
        (new, before, old, after, hashes),
        (new, before, new, after, []),
        (0, before, new, after, []),
        (old, before, new, after, []),
    ]
    for changed in changes:
        with pytest.raises(InvalidProof):
            merkle.verify_consistency(*changed)


@given(st.integers(1, 2**40), st.data())
def test_a_proof_in_a_tree_of_any_size_takes_ranges_apart_completely(size, data):
    index = data.draw(st.integers(0, size - 1))
    ranges = merkle.inclusion_ranges(index, size)

    covered = [Range(index, index + 1), *ranges]
    assert sum(end - start for start, end in covered) == size
    for leaves in ranges:
        nodes = merkle.perfect_subtrees(leaves)
        assert sum(1 << node.level for node in nodes) == leaves.end - leaves.start
        assert nodes[0].index << nodes[0].level == leaves.start


def test_perfect_subtrees_of_a_whole_tree_are_its_frontier():
    assert merkle.perfect_subtrees(Range(0, 7)) == [Node(2, 0), Node(1, 2), Node(0, 6)]


def test_there_is_no_proof_of_a_leaf_beyond_the_tree_or_of_a_tree_that_shrank():
    with pytest.raises(ValueError, match="has no leaf 5"):
        merkle.inclusion_ranges(5, 5)
    with pytest.raises(ValueError, match="6 leaves cannot have grown into one of 5"):
        merkle.consistency_ranges(6, 5)
