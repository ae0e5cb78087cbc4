"""The collector's settings last as long as the block."""

import gc

from kubernaut.ops.garbage_collection import MIN_NEW_OBJECTS, rare_collections


def test_collections_are_rare_within_the_block_only():
    before = gc.get_threshold()

    with rare_collections():
        assert gc.get_threshold() == (MIN_NEW_OBJECTS, *before[1:])
        assert gc.get_freeze_count() > 0

    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_cycles_are_still_collected_within_the_block():
    class Node:
        pass

    with rare_collections():
        nodes = [Node() for _ in range(2)]
        nodes[0].other, nodes[1].other = nodes[1], nodes[0]
        del nodes

        assert gc.collect() >= 2
