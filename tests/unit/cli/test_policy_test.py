"""`kubernaut policy test` gives the outcomes of `opa test`, and runs tables of cases."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from kubernaut.cli import app
from kubernaut.signalprocessing.policy import sources, test_run

POLICY = Path(__file__).resolve().parents[3] / "src/kubernaut/signalprocessing/default_policy/policy.rego"
HEAD = "package signalprocessing_test\nimport rego.v1\nimport data.signalprocessing\n"
PROD = (
    'prod := {"namespace": {"labels": {"kubernaut.ai/environment": "production"}}, '
    '"signal": {"severity": "critical"}}\n'
)

# By the body of a test, what OPA 1.22.4 makes of it.
OUTCOMES = {
    'test_a if { signalprocessing.priority.priority == "P0" with input as prod }': "pass",
    'test_b if { signalprocessing.priority.priority == "P1" with input as prod }': "fail",
    'test_c if { signalprocessing.severity == "warning" with input.signal.severity as "Sev3" }': "pass",
    "test_d := false": "fail",
    "test_e := 3": "fail",
    "test_f := true": "pass",
    "todo_test_g if false": "skip",
    "test_h if { 1 / 0 == 1 }": "fail",
    'test_i if { to_number("abc") }': "fail",
    "test_j if { f(1) == 2 }\nf(x) := 1 if x > 0\nf(x) := 2 if x < 5": "error",
    'test_k if { not signalprocessing.cluster with input as prod }': "pass",
    'test_l if { signalprocessing.severity == "info" with data.signalprocessing._severities as {"x": "info"} '
    'with input.signal.severity as "x" }': "pass",
    'test_m if { every s in ["sev0", "p1"] { signalprocessing.severity == "critical" '
    'with input.signal.severity as s } }': "pass",
}  # fmt: skip


def folder_with(tmp_path: Path, tests: str, cases: str = "") -> Path:
    shutil.copy(POLICY, tmp_path / "policy.rego")
    if tests:
        (tmp_path / "policy_test.rego").write_text(HEAD + PROD + tests)
    if cases:
        (tmp_path / "policy_cases.yaml").write_text(cases)
    return tmp_path


def report_of(capsys, *arguments: str):
    code = app.run(["policy", "test", *arguments, "-o", "json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else captured.err


def test_outcomes_are_those_of_opa(tmp_path, capsys):
    code, report = report_of(capsys, str(folder_with(tmp_path, "\n".join(OUTCOMES) + "\ntest_a if false\n")))

    found = {each["name"].removeprefix("data.signalprocessing_test."): each["outcome"] for each in report["tests"]}
    expected = {text.split()[0]: outcome for text, outcome in OUTCOMES.items()}
    assert code == 2
    assert found == {**expected, "test_a#01": "fail"}


@pytest.mark.skipif(not shutil.which("opa"), reason="opa is not installed")
def test_opa_itself_gives_these_outcomes(tmp_path):
    folder = folder_with(tmp_path, "\n".join(OUTCOMES))
    done = subprocess.run(
        ["opa", "test", "--format", "json", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )

    kinds = ("fail", "error", "skip")
    found = {each["name"]: next((kind for kind in kinds if each.get(kind)), "pass") for each in json.loads(done.stdout)}
    assert found == {text.split()[0]: outcome for text, outcome in OUTCOMES.items()}


def test_a_failure_names_the_line_that_does_not_hold(tmp_path, capsys):
    text = (
        "test_x if {\n\tx := signalprocessing.priority with input as prod\n"
        '\tx.policy_name == "production-critical"\n\tx.priority == "P1"\n}\n'
    )
    _, report = report_of(capsys, str(folder_with(tmp_path, text)))

    assert [each["message"] for each in report["tests"]] == ["policy_test.rego:8: does not hold"]


def test_run_selects_and_a_passing_run_exits_with_0(tmp_path, capsys):
    folder = folder_with(tmp_path, "\n".join(OUTCOMES))

    code = app.run(["policy", "test", str(folder), "-v", "--run", "test_[ac]$"])

    output = capsys.readouterr().out
    assert code == 0
    assert output.splitlines()[-1] == "PASS: 2/2"
    assert "data.signalprocessing_test.test_c: PASS" in output


async def test_a_test_that_never_ends_is_an_error_and_the_others_run():
    slow = "numbers.range(1, 1000000)"
    text = f"test_slow if {{ some x in {slow}; some y in {slow}; x == y + 2000000 }}\ntest_after if true\n"

    report = await test_run.run(sources.builtin(), [("policy_test.rego", HEAD + text)], [], timeout=0.5)

    assert [(each.outcome, each.message) for each in report.tests] == [
        ("error", "took more than 0.5 s of processor time"),
        ("pass", ""),
    ]


def test_a_file_that_does_not_compile_exits_with_1_and_its_place(tmp_path, capsys):
    code, errors = report_of(capsys, str(folder_with(tmp_path, "test_x if { lowr(1) }\n")))

    assert code == 1
    assert "policy_test.rego:5:13: lowr is not available to policies" in errors


CASES = """
defaults: {namespace: shop}
cases:
  - name: a crash in production wakes somebody
    facts: {severity: critical, environment: production, team: payments}
    expect: {priority: P0, rule: production-critical, labels: {team: payments}}
  - name: the mapping decides where no label does
    facts: {severity: Sev2, mapping: Staging, workload: Pod/x, owners: [Deployment/x]}
    expect: {priority: P1, environment: Staging, environmentSource: configmap}
  - name: a whole input
    input: {signal: {name: x, severity: info}}
    expect: {priority: P3, severity: info, cluster: ""}
"""


def test_a_table_of_cases_says_what_was_expected(tmp_path, capsys):
    code, report = report_of(capsys, str(folder_with(tmp_path, "", CASES)))

    assert code == 2
    assert [(each["outcome"], each.get("message")) for each in report["tests"]] == [
        ("pass", None),
        ("fail", "priority is P2, expected P1"),
        ("pass", None),
    ]


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ("cases: [{name: x, facts: {severty: high}, expect: {}}]", 'case "x": Object contains unknown field `severty`'),
        ("cases: [{name: x, expect: {}}]", 'case "x": either `facts` or `input` is expected'),
        ("cases: [{name: x, facts: {}, expect: {prio: P1}}]", "unknown field `prio` - at `$.cases[0].expect`"),
        ("cases: [{name: x, facts: {workload: api}, expect: {}}]", "'api': Kind/name is expected"),
        ("cases: [", "policy_cases.yaml:2:1: not YAML"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_case(tmp_path, capsys, cases, reason):
    code, errors = report_of(capsys, str(folder_with(tmp_path, "", cases)))

    assert code == 1
    assert reason in errors


def test_coverage_names_rules_and_lines_that_no_test_reaches(tmp_path, capsys):
    cases = "cases: [{name: x, facts: {severity: high}, expect: {severity: high}}]"
    folder = folder_with(tmp_path, "", cases)
    policy = folder / "policy.rego"
    policy.write_text(policy.read_text() + '\nlabels["x"] := ["y"] if {\n\tinput.signal.name == "never"\n\ttrue\n}\n')

    code = app.run(["policy", "test", str(folder), "--coverage", "--threshold", "99"])

    captured = capsys.readouterr()
    last = len(policy.read_text().splitlines()) - 1
    assert code == 2
    assert f"{last}" in captured.out
    assert "Code coverage threshold not met" in captured.err
    assert app.run(["policy", "test", str(folder), "--threshold", "50"]) == 0
