"""Tiles and bundles of C2SP tlog-tiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.api.ledger import merkle, tiles
from kubernaut.api.ledger.tiles import InvalidTile, Tile, TileHashes


def contents_of(leaves: list[bytes]) -> dict[Tile, bytes]:
    """Every tile of the tree over these leaf hashes."""
    levels = [leaves]
    while len(levels[-1]) >= tiles.WIDTH:
        below = levels[-1]
        levels.append([merkle.root_of(below[start : start + 256]) for start in range(0, len(below) // 256 * 256, 256)])
    return {
        tile: b"".join(levels[tile.level][tile.index * 256 : tile.index * 256 + tile.width])
        for tile in tiles.tiles_of(len(leaves))
    }


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specification():
    found = list(tiles.tiles_of(70_000))

    assert sum(tile.level == 0 and tile.is_full for tile in found) == 273
    assert [tile for tile in found if not tile.is_full] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert sum(tile.level == 1 and tile.is_full for tile in found) == 1


def test_a_tree_of_256_leaves_has_a_full_tile_and_a_partial_one_above():
    assert list(tiles.tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]


@pytest.mark.parametrize(
    ("index", "width", "path"),
    [
        (0, 256, "tile/entries/000"),
        (1234067, 256, "tile/entries/x001/x234/067"),
        (5, 12, "tile/entries/005.p/12"),
        (1000, 255, "tile/entries/x001/000.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(index, width, path):
    assert tiles.bundle_path(index, width) == path
    assert tiles.index_and_width(path.removeprefix("tile/entries/")) == (index, width)
    assert Tile(3, index, width).path() == path.replace("entries", "3")


@given(st.integers(0, 2**55), st.integers(1, 256))
def test_paths_are_read_as_they_are_written(index, width):
    assert tiles.index_and_width(tiles.bundle_path(index, width).removeprefix("tile/entries/")) == (index, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "1",
        "0001",
        "x000/001",
        "001/002",
        "x001/x002",
        "001.p/0",
        "001.p/256",
        "001.p/01",
        "001.p/",
        "00a",
        "\u0660\u0660\u0661",
    ],
)
def test_another_spelling_is_no_path(path):
    with pytest.raises(InvalidTile):
        tiles.index_and_width(path)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 70_000, 65_536, 65_537])
def test_proofs_follow_from_tiles(size):
    leaves = [merkle.leaf_hash(index.to_bytes(4)) for index in range(size)]
    hash_of = TileHashes(contents_of(leaves), size)
    root = merkle.root_of(leaves)
    for index in sorted({0, size // 2, size - 1}):
        hashes = merkle.proof(merkle.inclusion_ranges(index, size), hash_of)
        merkle.verify_inclusion(leaves[index], index, size, hashes, root)
    for old in sorted({1, size // 2, size - 1, size} - {0}):
        hashes = merkle.proof(merkle.consistency_ranges(old, size), hash_of)
        merkle.verify_consistency(old, merkle.root_of(leaves[:old]), size, root, hashes)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_are_read_as_they_are_written(entries):
    bundle = tiles.encode_bundle(entries)

    assert tiles.decode_bundle(bundle) == entries
    if bundle and len(entries[-1]) > 0:
        with pytest.raises(InvalidTile):
            tiles.decode_bundle(bundle[:-1])


def test_an_entry_longer_than_its_length_field_is_refused():
    with pytest.raises(InvalidTile, match="65536 bytes; 65535 are allowed"):
        tiles.encode_bundle([bytes(65_536)])


@pytest.mark.parametrize("size", [0, 31, 33, 257 * 32])
def test_a_tile_holds_whole_hashes(size):
    with pytest.raises(InvalidTile):
        tiles.split_hashes(bytes(size))
