"""`scripts/release` moves the changes into the changelog and sets one version everywhere, or changes nothing."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = (
    "deploy/chart/Chart.yaml",
    "deploy/kustomize/kustomization.yaml",
    "deploy/kustomize/base/manifests.yaml",
    "docs/howto-install.md",
)
VERSIONED = ("pyproject.toml", "pocketkube/pyproject.toml", "pytest-muster/pyproject.toml")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in (*VERSIONED, *DEPLOYED, "CHANGELOG.md", "changes/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "changes" / "b.fixed.md").write_text("B is\nright now.\n")
    (tmp_path / "changes" / "a.added.md").write_text("A is there.\n")
    return tmp_path


def release(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "release", "--root", repository, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def versions(repository: Path) -> set[str]:
    return {tomllib.loads((repository / name).read_text())["project"]["version"] for name in VERSIONED}


def test_changes_move_into_the_changelog_under_their_kind(repository):
    done = release(repository, "9.8.7", "--date", "2026-12-01")

    assert done.returncode == 0, done.stderr
    text = (repository / "CHANGELOG.md").read_text()
    wanted = "## [9.8.7] - 2026-12-01\n\n### Added\n\n- A is there.\n\n### Fixed\n\n- B is right now.\n"
    assert wanted in text
    assert versions(repository) == {"9.8.7"}
    assert all("9.8.7" in (repository / name).read_text() for name in DEPLOYED)
    assert [path.name for path in (repository / "changes").iterdir()] == ["README.md"]


def test_newer_versions_stand_first(repository):
    release(repository, "9.8.7")
    (repository / "changes" / "c.changed.md").write_text("C is other.\n")
    release(repository, "9.9.0")

    text = (repository / "CHANGELOG.md").read_text()
    assert text.index("## [9.9.0]") < text.index("## [9.8.7]") < len(text)
    assert text.count("# Changelog") == 1


@pytest.mark.parametrize(
    ("version", "extra", "reason"),
    [
        ("1.2", {}, "no version of the form"),
        ("v1.2.3", {}, "no version of the form"),
        ("9.9.9", {"c.removed.md": "x"}, "c.removed.md"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_changed(repository, version, extra, reason):
    for name, text in extra.items():
        (repository / "changes" / name).write_text(text)
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}

    done = release(repository, version)

    assert done.returncode == 1
    assert reason in done.stderr
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


def test_everything_has_one_version():
    (version,) = versions(ROOT)

    assert [name for name in DEPLOYED if version not in (ROOT / name).read_text()] == []
