"""Tiles and entry bundles of C2SP tlog-tiles: 256 hashes of one level, and the entries behind 256 leaves; pure."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kubernaut.api.ledger.merkle import HASH_SIZE, Node, root_of

HEIGHT = 8
WIDTH = 1 << HEIGHT
"""Hashes in a full tile, and entries in a full bundle."""

MAX_LEVEL = 63
MAX_ENTRY_SIZE = 2**16 - 1
"""Bytes of one entry; its length is written in two bytes."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile by its level, its index within the level, and how many hashes it has (256 when it is full)."""

    level: int
    index: int
    width: int = WIDTH

    def path(self) -> str:
        """Its path below the log's prefix."""
        return f"tile/{self.level}/{_encoded(self.index)}{_partial(self.width)}"

    @property
    def is_full(self) -> bool:
        return self.width == WIDTH


class InvalidTile(ValueError):
    """A path or a content that is no tile and no bundle."""


def bundle_path(index: int, width: int = WIDTH) -> str:
    """The path of an entry bundle below the log's prefix."""
    return f"tile/entries/{_encoded(index)}{_partial(width)}"


def index_and_width(path: str) -> tuple[int, int]:
    """Take `<N>[.p/<W>]` apart, as in `x001/x234/067.p/12`. Raises InvalidTile for any other spelling."""
    number, dot, width = path.partition(".p/")
    groups = number.split("/")
    digits = [group.removeprefix("x") if position < len(groups) - 1 else group for position, group in enumerate(groups)]
    if not all(len(group) == 3 and group.isascii() and group.isdecimal() for group in digits) or len(groups) > 7:
        raise InvalidTile(f"{path[:60]!r} is no tile index; such as x001/x234/067 is expected")
    index = int("".join(digits))
    if _encoded(index) != number:
        raise InvalidTile(f"{path[:60]!r} is no tile index; {_encoded(index)} is expected")
    if not dot:
        return index, WIDTH
    if not (width.isascii() and width.isdecimal() and width[0] != "0" and len(width) <= 3 and int(width) < WIDTH):
        raise InvalidTile(f"{width[:20]!r} is no width of a partial tile; 1 to {WIDTH - 1} is expected")
    return index, int(width)


def tile_of(node: Node, size: int) -> Tile:
    """The tile in which the hash of a perfect subtree is found, or from which it is computed, in a tree of `size`."""
    level = node.level // HEIGHT
    first = node.index << (node.level % HEIGHT)
    index = first >> HEIGHT
    return Tile(level, index, min(WIDTH, (size >> (level * HEIGHT)) - index * WIDTH))


def hash_in(node: Node, tile: bytes) -> bytes:
    """The hash of a perfect subtree from the content of `tile_of` it. Raises InvalidTile when the tile is too short."""
    count = 1 << (node.level % HEIGHT)
    first = (node.index << (node.level % HEIGHT)) % WIDTH
    hashes = split_hashes(tile)[first : first + count]
    if len(hashes) < count:
        raise InvalidTile(f"the tile has {len(tile) // HASH_SIZE} hashes; {first + count} are needed")
    return hashes[0] if count == 1 else root_of(hashes)


def split_hashes(tile: bytes) -> list[bytes]:
    """The hashes of a tile. Raises InvalidTile when it does not hold whole hashes, or more than 256."""
    if len(tile) % HASH_SIZE or not 0 < len(tile) <= WIDTH * HASH_SIZE:
        raise InvalidTile(f"a tile has 1 to {WIDTH} hashes of {HASH_SIZE} bytes, not {len(tile)} bytes")
    return [tile[start : start + HASH_SIZE] for start in range(0, len(tile), HASH_SIZE)]


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile of a tree of `size` leaves, lowest level first."""
    level = 0
    while width := size >> (level * HEIGHT):
        for index in range(width >> HEIGHT):
            yield Tile(level, index)
        if width % WIDTH:
            yield Tile(level, width >> HEIGHT, width % WIDTH)
        level += 1


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries as a bundle. Raises InvalidTile for one that is too long."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_SIZE:
            raise InvalidTile(f"an entry has {len(entry)} bytes; {MAX_ENTRY_SIZE} are allowed")
        parts += (struct.pack(">H", len(entry)), entry)
    return b"".join(parts)


def decode_bundle(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises InvalidTile when it ends in the middle of one."""
    entries: list[bytes] = []
    position = 0
    while position < len(bundle):
        if position + 2 > len(bundle):
            raise InvalidTile(f"the bundle ends within the length of entry {len(entries)}")
        (length,) = struct.unpack_from(">H", bundle, position)
        entry = bundle[position + 2 : position + 2 + length]
        if len(entry) < length:
            raise InvalidTile(f"the bundle ends within entry {len(entries)}")
        entries.append(entry)
        position += 2 + length
    return entries


class TileHashes:
    """What `merkle.proof` asks for, from the contents of the tiles that `tile_of` names for a tree of `size`."""

    def __init__(self, contents: Mapping[Tile, bytes], size: int) -> None:
        self._contents = contents
        self._size = size

    def __call__(self, node: Node) -> bytes:
        return hash_in(node, self._contents[tile_of(node, self._size)])


def _encoded(index: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def _partial(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"
