"""`kubernaut policy check`: what it finds, where, and what it leaves alone."""

import json
from pathlib import Path

import pytest

from kubernaut.cli import app
from kubernaut.signalprocessing.policy import checking, lint, sources

HEAD = "package signalprocessing\nimport rego.v1\n"
DEFAULTS = 'default severity := "unknown"\ndefault priority := {"priority": "P2", "policy_name": "default"}\n'


def linted(text: str):
    """The findings of the text alone, by kind and place."""
    policy = sources.from_text(HEAD + DEFAULTS + text)
    found = lint.lint(lint.LintRequest(files=[*policy.files], entries=policy.entries)).findings
    return {(each.kind, each.line, each.column): each for each in found}


async def checked(text: str):
    result = await checking.check(sources.from_text(HEAD + DEFAULTS + text))
    return {(each.kind, each.line, each.column): each for each in result.findings}


@pytest.mark.requirement("DEFECT-01")
async def test_the_built_in_policy_has_no_fault():
    result = await checking.check(sources.builtin())

    assert result.findings == ()
    assert result.evaluated > 2_000


FAULTS = {
    'cluster := http.send({"url": "http://x"}).body': ("builtin", 5, 12),
    'cluster := lowr("x")': ("engine", 5, 12),
    "cluster := x { x := 1 }": ("syntax", 5, 14),
    "cluster := zz": ("engine", 5, 12),
    'cluster := "a" if not zz': ("engine", 5, 23),
    "cluster := input.namspace.name": ("input", 5, 12),
    'cluster := "a" if input.signal.lables.team == "x"': ("input", 5, 19),
    "_spare := 3": ("unused", 5, 1),
    'cluster := "a" if true\nelse := "b" if input.signal.name == "x"': ("unreachable", 6, 1),
    'cluster := "a"\ncluster := "b" if input.signal.name == "x"': ("unreachable", 6, 1),
    'default cluster := "a"\ncluster := "b"': ("unreachable", 5, 1),
    "cluster := b\nb := cluster": ("engine", 6, 1),
    "cluster := [[[[[[[[[[[1]]]]]]]]]]]": ("syntax", 5, 22),
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_found_at_its_place(text):
    assert FAULTS[text] in linted(text + "\n")


def test_every_fault_of_a_file_is_reported_not_only_the_first():
    found = linted('cluster := lowr("x")\nlabels := uuid.parse("x")\nx := input.namspace\n')

    assert {(kind, line) for kind, line, _ in found} == {
        ("engine", 5),
        ("builtin", 6),
        ("input", 7),
        ("unused", 7),
    }


def test_a_hint_names_what_was_probably_meant():
    found = linted('cluster := lowr("x")\nlabels := input.namspace.labels\n')

    assert {each.hint for each in found.values()} == {"did you mean lower?", "did you mean namespace?"}


@pytest.mark.requirement("LESSON-07")
async def test_a_conflict_tells_the_least_input_that_shows_it():
    text = (
        'severity := "critical" if input.signal.labels.page == "yes"\n'
        'severity := "warning" if { input.namespace.labels.team == "web"; not input.detectedLabels.stateful }\n'
        'cluster := input.namespace.labels.zone if input.workload.labels.app == "api"\n'
    )
    found = await checked(text)

    assert [*found] == [("conflict", 6, 1)]
    (conflict,) = found.values()
    assert conflict.hint.endswith('input.namespace.labels.team = "web" and input.signal.labels.page = "yes"') or (
        conflict.hint.endswith('input.signal.labels.page = "yes" and input.namespace.labels.team = "web"')
    )
    assert conflict.input is not None
    assert conflict.input["signal"]["labels"]["page"] == "yes"


async def test_a_conflict_beyond_a_number_of_a_label_is_found():
    text = (
        'cluster := "big" if to_number(input.workload.labels.size) > 5\n'
        'cluster := "odd" if input.signal.name == "odd"\n'
    )

    assert ("conflict", 6, 1) in await checked(text)


async def test_a_required_rule_that_is_missing_or_sometimes_undefined_is_found():
    text = 'severity := "critical" if input.signal.severity == "critical"\n'
    result = await checking.check(sources.from_text(HEAD + text))

    assert {(each.kind, each.hint.split(";")[0]) for each in result.findings} == {
        ("undefined", 'add default severity := "unknown"'),
        ("missing", 'add default priority := {"priority": "P2", "policy_name": "default"}'),
    }


async def test_what_a_signal_cannot_have_is_no_fault():
    text = (
        'cluster := concat("", [o.name | some o in input.workload.ownerChain]) if startswith(input.signal.name, "x")\n'
    )

    assert await checked(text) == {}


def test_the_command_prints_places_and_exits_with_1(tmp_path: Path, capsys):
    (tmp_path / "policy.rego").write_text(HEAD + DEFAULTS + 'cluster := lowr("x")\n')
    (tmp_path / "policy_test.rego").write_text('package signalprocessing\n\ntest_x if { lowr("y") }\n')

    code = app.run(["policy", "check", str(tmp_path)])

    output = capsys.readouterr().out
    assert code == 1
    assert "policy.rego:5:12: engine: lowr is not available to policies: there is no such function" in output
    assert "policy_test.rego:3:13: engine: lowr" in output
    assert "    hint: did you mean lower?" in output


def test_the_command_prints_json(tmp_path: Path, capsys):
    (tmp_path / "policy.rego").write_text(HEAD + 'severity := "loud"\npriority := {"priority": "P1"}\n')

    code = app.run(["policy", "check", str(tmp_path / "policy.rego"), "-o", "json"])

    (finding,) = json.loads(capsys.readouterr().out)
    assert code == 1
    assert finding["kind"] == "result"
    assert "loud" in finding["message"]


async def test_a_conflict_in_files_per_dimension_is_found(tmp_path: Path):
    (tmp_path / "priority.rego").write_text(
        "package signalprocessing.priority\nimport rego.v1\n"
        'default result := {"priority": "P2", "policy_name": "default"}\n'
        'result := {"priority": "P0", "policy_name": "a"} if { input.environment == "production" }\n'
        'result := {"priority": "P1", "policy_name": "b"} if { input.namespace_labels.tier == "high" }\n'
    )
    (tmp_path / "environment.rego").write_text(
        "package signalprocessing.environment\nimport rego.v1\n"
        'result := {"environment": "production", "source": "x"} if '
        '{ input.namespace.labels["kubernaut.ai/environment"] == "production" }\n'
    )
    result = await checking.check(sources.read(tmp_path))

    assert [(each.kind, each.file, each.line) for each in result.findings] == [("conflict", "priority.rego", 5)]
    assert 'input.namespace.labels.tier = "high"' in result.findings[0].hint


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (HEAD + DEFAULTS + 'severty := "high" if input.signal.name\n', "did you mean severity?"),
        ("package signalprocesing\n\nx := 1\n", "did you mean package signalprocessing?"),
    ],
)
async def test_a_misspelt_rule_or_package_is_told_what_was_meant(text: str, meant: str):
    result = await checking.check(sources.from_text(text))

    assert any(each.kind == "unused" and each.hint.startswith(meant) for each in result.findings)
