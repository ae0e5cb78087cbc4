"""The reference of the record says what the code says, and what is written is in it.

`python test_record_reference.py` writes the parts that come from the code into the reference.
"""

import re
import sys
from pathlib import Path

from pytest_muster.records import activity, journal, masking

REFERENCE = Path(__file__).parents[1] / "docs" / "record.md"


def parts():
    """What the reference quotes from the code, by the name of the place."""
    text = journal.__doc__
    table = re.search(r"\n\n((?:    .*\n|\n)+)\n`order`", text)[1]
    rest = text[text.index("`order`") :].strip()
    return {
        "record": "```\n" + "\n".join(line[4:] for line in table.rstrip().splitlines()) + "\n```",
        "error": rest,
        "activity": activity.__doc__.strip(),
        "masking": masking.__doc__.strip(),
    }


def filled(reference):
    for name, text in parts().items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->\n)"
        reference, times = re.subn(
            pattern, lambda found, text=text: f"{found[1]}{text}\n{found[2]}", reference, flags=re.DOTALL
        )
        assert times == 1, name
    return reference


def test_the_reference_quotes_the_code():
    reference = REFERENCE.read_text(encoding="utf-8")

    assert filled(reference) == reference, f"run: python {Path(__file__).name}"
    assert f"version {journal.SCHEMA} of the schema" in reference


if __name__ == "__main__":
    REFERENCE.write_text(filled(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
