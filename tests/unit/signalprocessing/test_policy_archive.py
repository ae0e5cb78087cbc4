"""The versions of a policy that were accepted, on disk."""

import os
from pathlib import Path

import pytest

from kubernaut.signalprocessing.policy import archive, sources
from kubernaut.signalprocessing.policy.archive import PolicyArchive

FIRST, SECOND = sources.from_text("package a"), sources.from_text("package b")
EVIL = b'{"form":"unified","files":{"policy.rego":"package evil"}}'
SEVERAL = sources.from_files({"environment.rego": "package x", "priority.rego": "package y"})


@pytest.mark.parametrize("version", [FIRST, SEVERAL])
def test_version_is_found_by_its_hash_and_by_the_beginning_of_it(tmp_path: Path, version):
    kept = PolicyArchive(tmp_path / "policies")
    kept.keep(version)

    assert kept.find(version.hash) == kept.find(version.hash[:12]) == kept.last_known_good() == version
    assert [kept.find(text) for text in ("", "abc", "../x", "f" * 64)] == [None] * 4


def test_last_known_good_is_the_one_that_was_accepted_last(tmp_path: Path):
    kept = PolicyArchive(tmp_path)
    for version in (FIRST, SECOND, FIRST):
        kept.keep(version)

    assert PolicyArchive(tmp_path).last_known_good() == FIRST
    assert kept.find(SECOND.hash) == SECOND


def test_empty_archive_has_none(tmp_path: Path):
    assert PolicyArchive(tmp_path / "none").last_known_good() is None
    assert PolicyArchive(tmp_path / "none").find(FIRST.hash) is None


@pytest.mark.parametrize("damage", [b"", b"\xff", b"{", b'{"form":"unified","files":{}}', EVIL])
def test_damaged_file_is_no_version(tmp_path: Path, damage):
    kept = PolicyArchive(tmp_path)
    kept.keep(FIRST)
    (tmp_path / f"{FIRST.hash}.json").write_bytes(damage)

    assert kept.last_known_good() is None


@pytest.mark.parametrize("damage", [b"", b"\xff", b"../../x", b"0" * 10_000])
def test_damaged_mark_is_no_version(tmp_path: Path, damage):
    kept = PolicyArchive(tmp_path)
    kept.keep(FIRST)
    (tmp_path / archive.LAST).write_bytes(damage)

    assert kept.last_known_good() is None


def test_what_was_accepted_longest_ago_goes_first(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_VERSIONS", 2)
    kept = PolicyArchive(tmp_path)
    for age, version in ((300, FIRST), (200, SECOND)):
        kept.keep(version)
        os.utime(tmp_path / f"{version.hash}.json", (1_000_000 - age, 1_000_000 - age))
    kept.keep(SEVERAL)

    assert (kept.find(FIRST.hash), kept.find(SECOND.hash), kept.last_known_good()) == (None, SECOND, SEVERAL)
