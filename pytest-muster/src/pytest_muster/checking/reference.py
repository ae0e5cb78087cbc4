"""The rules in words: the page of all, and the answer to `--explain`."""

from pathlib import Path

from pytest_muster.checking.engine import METAS
from pytest_muster.checking.rules import Rule, all_rules
from pytest_muster.checking.text_file import FileKind, kind_of

_GROUPS = {
    "M1": "State that tests share",
    "M2": "Addresses and names",
    "M3": "Waiting",
    "M4": "Lifetimes",
    "M5": "Collection and scheduling",
    "M6": "Threads",
    "M7": "Images",
}


def rules_page() -> str:
    """docs/rules.md."""
    parts = [
        "# Rules of `muster check`",
        (
            "Written by `muster check --docs` from the rules; do not edit.\n"
            "Each example is checked by a test: the first code is found, the second is not.\n"
            "A violation that is right as it is gets a comment with its reason, on its line or alone on the line "
            "above:\n"
            "`# muster: ignore[M201] the port of the standard is what is tested`."
        ),
        "| rule | level | finds |\n|---|---|---|\n"
        + "\n".join(
            f"| [{one.id} {one.name}](#{one.id.lower()}-{one.name}) | {one.level} | {one.title} |"
            for one in all_rules().values()
        ),
    ]
    for prefix, title in _GROUPS.items():
        parts.append(f"## {title}")
        parts += [_section(rule) for rule in all_rules().values() if rule.id.startswith(prefix)]
    parts.append("## The files and the comments themselves")
    parts.append("\n".join(f"- {one.id} {one.name}: {one.title} {one.remedy}" for one in METAS))
    return "\n\n".join(parts) + "\n"


def _section(rule: Rule) -> str:
    language = {None: "python", FileKind.SETTINGS: "ini", FileKind.IMAGE: "dockerfile"}[kind_of(Path(rule.file))]
    return (
        f"### {rule.id} {rule.name}\n\n{rule.title}\n\n{rule.reason}\n\n**Instead:** {rule.remedy}\n\n"
        f"Found:\n\n```{language}\n{rule.bad}```\n\nNot found:\n\n```{language}\n{rule.good}```"
    )


def explain(rule: Rule) -> str:
    def indented(text: str) -> str:
        return "".join(f"    {line}" if line.strip() else line for line in text.splitlines(keepends=True))

    return (
        f"{rule.id} {rule.name} ({rule.level})\n\n{rule.title}\n\nWhy: {rule.reason}\n\nInstead: {rule.remedy}\n\n"
        f"Found:\n\n{indented(rule.bad)}\nNot found:\n\n{indented(rule.good)}"
    )
