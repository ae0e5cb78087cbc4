import pack
import pytest


@pytest.mark.parametrize("turn", range(9))
def test_pack(tmp_path, turn):
    names = [f"part-{turn}-{number}.txt" for number in range(4)]
    assert pack.pack(names, tmp_path / f"{turn}.zip") == names
