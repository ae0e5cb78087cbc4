"""The inventory of the integration suite: read from the code of its tests, without importing them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SPECS = Path(__file__).parents[2] / "integration" / "signalprocessing" / "specs"

GROUPS = {
    "SU": "Set-up",
    "RH": "Reconciler: happy path",
    "RE": "Reconciler: edge cases",
    "RX": "Reconciler: errors",
    "RR": "Reconciler: recovery context",
    "CE": "Component: enrichment",
    "CV": "Component: environment",
    "CP": "Component: priority",
    "CB": "Component: business class",
    "CO": "Component: owner chain",
    "CD": "Component: detection",
    "RG": "Policy",
    "HR": "Hot reload",
    "AU": "Audit",
    "MT": "Metrics",
    "CN": "Conditions",
    "BO": "Back-off",
    "SV": "Severity",
    "SM": "Signal mode",
    "EV": "Kubernetes Events",
    "TO": "Deadline",
    "CL": "Clusters",
}
"""What the letters of an id stand for, in the order of the reference page."""

DECEMBER = {
    "SU": 2,
    "RH": 10,
    "RE": 8,
    "RX": 7,
    "RR": 4,
    "CE": 7,
    "CV": 3,
    "CP": 3,
    "CB": 2,
    "CO": 2,
    "CD": 3,
    "RG": 15,
    "HR": 5,
    "AU": 5,
}
"""How many specs of each group there were on 15 December 2025: 76."""

ONCE_SKIPPED = frozenset(
    f"{group}-{number:02}"
    for group, numbers in {
        "RX": (1, 3, 5),
        "CE": (3,),
        "CV": (3,),
        "CO": (2,),
        "RG": (3, 6, 7, 8, 11, 13),
        "HR": (4, 5),
    }.items()
    for number in numbers
)
"""Those that were skipped at run time then."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One spec: its id, the requirements that it shows, and where and what it asserts."""

    id: str
    requirements: tuple[str, ...]
    file: Path
    test: str
    asserts: str

    @property
    def node(self) -> str:
        return f"{self.file.name}::{self.test}"

    @property
    def is_of_december(self) -> bool:
        group, _, number = self.id.partition("-")
        return int(number) <= DECEMBER.get(group, 0)


def specs(folder: Path = SPECS) -> list[Spec]:
    """Every spec of the suite, by group and number. Raises ValueError for a test that is none."""
    order = [*GROUPS]
    found = [spec for file in sorted(folder.glob("test_*.py")) for spec in _specs_of(file)]
    return sorted(found, key=lambda spec: (order.index(spec.id[:2]), spec.id))


def _specs_of(file: Path) -> Iterator[Spec]:
    for node in ast.parse(file.read_text()).body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        marks = [
            [argument.value for argument in each.args if isinstance(argument, ast.Constant)]
            for each in node.decorator_list
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "spec"
        ]
        text = ast.get_docstring(node)
        if len(marks) != 1 or len(marks[0]) < 2 or not text:
            raise ValueError(f"{file.name}::{node.name} needs one @spec(id, requirement, ...) and a docstring")
        identifier, *requirements = map(str, marks[0])
        yield Spec(
            id=identifier, requirements=tuple(requirements), file=file, test=node.name, asserts=" ".join(text.split())
        )


def expected_of_december() -> set[str]:
    """The ids of the 76."""
    return {f"{group}-{number:02}" for group, count in DECEMBER.items() for number in range(1, count + 1)}
