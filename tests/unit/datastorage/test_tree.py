"""The edge of a growing tree: the same root and tiles in steps of any size, also when it is loaded in between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.tiles import Tile, TileHashes, tiles_of
from kubernaut.datastorage.tree import FullTile, Tree, levels_of


def leaves_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(index.to_bytes(4)) for index in range(size)]


class Stored:
    """What the database has of a tree."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.tiles: dict[tuple[int, int], FullTile] = {}
        self.frontier = b""

    def write(self, tree: Tree, leaves: list[bytes]) -> None:
        for tile in tree.extend(leaves):
            assert (tile.level, tile.index) not in self.tiles
            self.tiles[tile.level, tile.index] = tile
        self.leaves += leaves
        self.frontier = tree.frontier

    def edges(self) -> list[list[bytes]]:
        size = len(self.leaves)
        edges = []
        for level in range(levels_of(size)):
            count = size >> (8 * level)
            first = count // 256 * 256
            below = (
                (lambda index: self.leaves[index])
                if level == 0
                else (lambda index, level=level: self.tiles[level - 1, index].root)
            )
            edges.append([below(index) for index in range(first, count)])
        return edges

    def load(self) -> Tree:
        return Tree(len(self.leaves), self.frontier, self.edges())


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 700), st.booleans()), max_size=8))
def test_a_tree_is_the_same_however_it_grows(steps):
    stored, tree = Stored(), Tree()
    for step, is_reloaded in steps:
        size = len(stored.leaves)
        stored.write(tree, leaves_of(size + step)[size:])
        if is_reloaded:
            tree = stored.load()
            assert tree.altered_levels() == []

    assert tree.size == len(stored.leaves)
    assert tree.root == (merkle.root_of(stored.leaves))
    assert {*stored.tiles} == {(tile.level, tile.index) for tile in tiles_of(tree.size) if tile.is_full}


def test_tiles_of_two_levels_prove_leaves():
    stored, tree = Stored(), Tree()
    leaves = leaves_of(65_536 + 300)
    stored.write(tree, leaves)
    edges = stored.edges()
    contents = {
        tile: stored.tiles[tile.level, tile.index].hashes if tile.is_full else b"".join(edges[tile.level])
        for tile in tiles_of(tree.size)
    }

    assert Tile(1, 0) in contents
    for index in (0, 65_535, 65_536, tree.size - 1):
        hashes = merkle.proof(merkle.inclusion_ranges(index, tree.size), TileHashes(contents, tree.size))
        merkle.verify_inclusion(leaves[index], index, tree.size, hashes, tree.root)


@pytest.mark.parametrize("edited", [0, 77, 99])
def test_an_edited_row_does_not_change_the_root_that_follows(edited):
    stored, tree = Stored(), Tree()
    stored.write(tree, leaves_of(100))
    honest = stored.load()
    stored.leaves[edited] = merkle.leaf_hash(b"edited")

    reloaded = stored.load()
    assert reloaded.altered_levels() == [0]
    later = leaves_of(1000)[100:]
    assert [tile.root for tile in reloaded.extend(later)] == [tile.root for tile in honest.extend(later)]
    assert reloaded.root == honest.root == merkle.root_of(leaves_of(1000))


@pytest.mark.parametrize(
    ("size", "frontier", "edges"),
    [(1, b"", [[bytes(32)]]), (1, bytes(32), []), (1, bytes(32), [[]]), (0, bytes(32), []), (256, bytes(32), [[]])],
)
def test_an_edge_that_does_not_fit_the_size_is_refused(size, frontier, edges):
    with pytest.raises(ValueError, match="leaves has"):
        Tree(size, frontier, edges)
