"""`kubernaut policy fmt` with OPA's formatter, and without."""

import shutil
from pathlib import Path

import pytest

from kubernaut.cli import policy_format
from kubernaut.cli.errors import CommandError

UGLY = 'package signalprocessing\nseverity   :=  "info"\n'
NEAT = 'package signalprocessing\n\nseverity := "info"\n'

needs_opa = pytest.mark.skipif(not shutil.which("opa"), reason="opa is not installed")


@needs_opa
async def test_differences_are_shown_and_change_nothing(tmp_path: Path, capsys):
    (tmp_path / "policy.rego").write_text(UGLY)
    (tmp_path / "policy_test.rego").write_text(NEAT)

    assert await policy_format.fmt(tmp_path) == 1

    shown = capsys.readouterr().out
    assert '+severity := "info"' in shown
    assert '-severity   :=  "info"' in shown
    assert "policy_test" not in shown
    assert (tmp_path / "policy.rego").read_text() == UGLY


@needs_opa
async def test_files_are_brought_into_the_form_once(tmp_path: Path):
    path = tmp_path / "policy.rego"
    path.write_text(UGLY)

    assert await policy_format.fmt(path, write=True) == 0

    assert path.read_text() == NEAT
    assert await policy_format.fmt(path) == 0


@needs_opa
async def test_what_does_not_parse_is_named_with_its_place(tmp_path: Path):
    (tmp_path / "policy.rego").write_text("package signalprocessing\nseverity := \n")

    with pytest.raises(CommandError, match=r"policy\.rego:3: rego_parse_error: unexpected eof"):
        await policy_format.fmt(tmp_path, write=True)


async def test_without_opa_the_command_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "policy.rego").write_text(UGLY)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CommandError, match="needs OPA's formatter") as raised:
        await policy_format.fmt(tmp_path)
    assert raised.value.code == 3


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "empty"])
async def test_nothing_to_format_is_wrong_usage(make, tmp_path: Path):
    make(tmp_path / "policy")

    with pytest.raises(CommandError) as raised:
        await policy_format.fmt(tmp_path / "policy")
    assert raised.value.code == 2
