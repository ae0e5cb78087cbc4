"""`muster check` on files: exit codes, ignores, settings, outputs."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from pytest_muster.checking.rules import all_rules
from pytest_muster.cli import main

SLEEPS = "import time\n\n\ndef test_it():\n    time.sleep(1)\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\ntestpaths = ["tests"]\n')
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(project: Path, text: str) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write(text)


def test_nothing_found(project, capsys):
    (project / "tests" / "test_fine.py").write_text("def test_it():\n    pass\n")

    assert main(["check"]) == 0
    assert capsys.readouterr().out == "no violations in 1 file\n"


def test_finding_says_where_what_and_what_to_do(project, capsys):
    (project / "tests" / "test_sleep.py").write_text(SLEEPS)

    assert main(["check"]) == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first == "tests/test_sleep.py:5:5: M301 the test waits 1 s and hopes that this is enough"
    assert second.strip() == all_rules()["M301"].remedy
    assert last.startswith("1 violation in 1 of 1 file;")


def test_syntax_error_is_reported_and_the_others_are_checked(project, capsys):
    (project / "tests" / "test_a.py").write_text("def test_it(:\n")
    (project / "tests" / "test_b.py").write_text(SLEEPS)
    (project / "tests" / "test_c.py").write_bytes(b"\xff\xfe")

    assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert "tests/test_a.py:1:13: M001" in out and "M301" in out and "tests/test_c.py:1:1: M001" in out


def test_code_is_never_imported(project):
    (project / "tests" / "test_boom.py").write_text("raise SystemExit('imported')\n")

    assert main(["check"]) == 0


@pytest.mark.parametrize(
    ("comment", "ids"),
    [
        ("# muster: ignore[M301] the pause is what is tested", []),
        ("# muster: ignore[M301]: the pause is what is tested", []),
        ("# muster: ignore[M301]", ["M002", "M301"]),
        ("# muster: ignore because", ["M002", "M301"]),
        ("# muster: ignore[M201] wrong rule", ["M003", "M301"]),
        ("# muster: ignore[M999] no rule", ["M003", "M301"]),
        ("# muster: ignore[M201, M301] one of two", ["M003"]),
        ("", ["M301"]),
    ],
)
@pytest.mark.parametrize("above", [False, True])
def test_ignores(project, capsys, comment, ids, above):
    sleep = f"    {comment}\n    time.sleep(1)\n" if above else f"    time.sleep(1)  {comment}\n"
    (project / "tests" / "test_it.py").write_text(f"import time\n\n\ndef test_it():\n{sleep}")

    assert main(["check", "--output", "json"]) == (1 if ids else 0)
    assert sorted(one["id"] for one in json.loads(capsys.readouterr().out)["violations"]) == ids


def test_settings_choose_rules_and_files(project, capsys):
    for name in ("test_a.py", "test_b.py", "test_c.py"):
        (project / "tests" / name).write_text(SLEEPS)
    (project / "tests" / "examples").mkdir()
    (project / "tests" / "examples" / "test_d.py").write_text(SLEEPS)
    settings(
        project,
        '[tool.muster]\nexclude = ["tests/examples"]\nselect = ["M3", "M2"]\nignore = ["M303"]\n'
        '[tool.muster.per-file-ignores]\n"*/test_a.py" = ["M301"]\n',
    )

    assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert "test_a" not in out and "test_b" in out and "test_c" in out and "test_d" not in out

    assert main(["check", "--ignore", "M301"]) == 0
    assert main(["check", "--select", "M1"]) == 0
    assert main(["check", "tests/examples/test_d.py"]) == 1  # a file that is named is never excluded


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.muster]\nselct = []\n", "selct"),
        ('[tool.muster]\nselect = "M1"\n', "must be a list"),
        ('[tool.muster]\nignore = ["X1"]\n', "no rule 'X1'"),
        ("[tool.muster\n", "is not TOML"),
    ],
)
def test_wrong_settings_are_wrong_usage(project, capsys, text, told):
    settings(project, text)

    assert main(["check"]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--select", "M9"], ["nowhere"], ["--explain", "M999"]])
def test_wrong_usage(project, capsys, arguments):
    assert main(["check", *arguments]) == 2
    assert capsys.readouterr().err


def test_rule_is_explained(capsys):
    assert main(["check", "--explain", "M401"]) == 0
    out = capsys.readouterr().out
    assert all_rules()["M401"].reason in out and "docker" in out


def test_fixture_of_a_conftest_above_is_known(project, capsys):
    (project / "tests" / "conftest.py").write_text(
        "import pytest\n\n\n@pytest.fixture(scope='session')\ndef database():\n    return open_database()\n"
    )
    (project / "tests" / "test_it.py").write_text(
        "def test_it(database):\n    database.execute('CREATE TABLE orders (id int)')\n"
    )

    assert main(["check", "--output", "json"]) == 1
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["violations"]] == ["M203"]


SARIF = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "minItems": 1,
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name", "semanticVersion", "rules"],
                                "properties": {
                                    "rules": {
                                        "items": {
                                            "required": [
                                                "id",
                                                "name",
                                                "shortDescription",
                                                "fullDescription",
                                                "help",
                                                "defaultConfiguration",
                                                "properties",
                                            ],
                                            "properties": {
                                                "shortDescription": {"$ref": "#/$defs/text"},
                                                "fullDescription": {"$ref": "#/$defs/text"},
                                                "help": {"$ref": "#/$defs/text", "required": ["text", "markdown"]},
                                                "defaultConfiguration": {
                                                    "properties": {"level": {"enum": ["note", "warning", "error"]}},
                                                    "required": ["level"],
                                                },
                                                "properties": {"required": ["tags", "precision", "problem.severity"]},
                                            },
                                        }
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "items": {
                            "required": ["ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"],
                            "properties": {
                                "message": {"$ref": "#/$defs/text"},
                                "partialFingerprints": {"minProperties": 1},
                                "locations": {
                                    "minItems": 1,
                                    "items": {
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "required": ["uri"],
                                                        "properties": {"uri": {"pattern": "^[^/]"}},
                                                    },
                                                    "region": {
                                                        "required": ["startLine", "startColumn", "endLine"],
                                                        "additionalProperties": {"type": "integer", "minimum": 1},
                                                    },
                                                },
                                            }
                                        },
                                        "required": ["physicalLocation"],
                                    },
                                },
                            },
                        }
                    },
                },
            },
        },
    },
    "$defs": {"text": {"required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}},
}
"""What a code review tool needs of SARIF 2.1.0, beyond what the format itself asks for."""


def test_sarif_has_what_code_review_needs(project, capsys):
    (project / "tests" / "test_it.py").write_text(SLEEPS + "    time.sleep(1)\n")
    (project / "tests" / "test_bad.py").write_text("def\n")

    assert main(["check", "--output", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    jsonschema_rs.validator_for(SARIF).validate(log)
    run = log["runs"][0]
    assert [one["ruleId"] for one in run["results"]] == ["M001", "M301", "M301"]
    for one in run["results"]:
        assert run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"]
    assert len({one["partialFingerprints"]["musterFinding/v1"] for one in run["results"]}) == 3


def test_fingerprint_stays_when_lines_move(project, capsys):
    file = project / "tests" / "test_it.py"
    seen = []
    for text in (SLEEPS, f"\n\n{SLEEPS}"):
        file.write_text(text)
        main(["check", "--output", "sarif"])
        (result,) = json.loads(capsys.readouterr().out)["runs"][0]["results"]
        seen.append((result["partialFingerprints"], result["locations"][0]["physicalLocation"]["region"]["startLine"]))

    assert seen[0][0] == seen[1][0] and seen[0][1] != seen[1][1]


def test_columns_count_characters(project, capsys):
    (project / "tests" / "test_it.py").write_text("import time\n\n\ndef test_it():\n    'äöü'; time.sleep(1)\n")

    main(["check"])
    assert "test_it.py:5:12: M301" in capsys.readouterr().out


def test_own_suites_pass():
    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file():
        pytest.skip("the tests are not in their repository")
    command = [str(Path(sys.executable).parent / "muster"), "check"]

    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_dockerfiles_and_settings_of_pytest_are_checked_beside_the_tests(project, capsys):
    settings(project, 'addopts = "-p no:threadexception"\n')
    (project / "tests" / "shop").mkdir()
    (project / "tests" / "shop" / "Dockerfile").write_text("FROM a\nRUN apt-get update && apt-get -y upgrade\n")
    (project / "tests" / "notes.txt").write_text("RUN apk upgrade\n")

    assert main(["check", "pyproject.toml", "tests"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if " M" in line]
    assert [line.split()[:2] for line in lines] == [
        ["pyproject.toml:3:15:", "M603"],
        ["tests/shop/Dockerfile:2:23:", "M703"],
    ]
