"""Print what is in this image as CycloneDX 1.6: the Python packages of this interpreter, and the packages of Debian.

python sbom.py NAME
"""

import json
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from typing import Any


def python_packages() -> list[dict[str, Any]]:
    return [_component(each) for each in sorted(distributions(), key=lambda each: each.name.lower())]


def _component(distribution: Distribution) -> dict[str, Any]:
    name, version = distribution.name.lower().replace("_", "-"), distribution.version
    purl = f"pkg:pypi/{name}@{version}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    licence = distribution.metadata.get("License-Expression")
    return component | ({"licenses": [{"expression": licence}]} if licence else {})


def debian_packages() -> list[dict[str, Any]]:
    """Those of the base image; none where it is not Debian's."""
    fields = "${binary:Package}\t${Version}\t${Architecture}\n"
    try:
        listed = subprocess.run(
            ["dpkg-query", "--show", f"--showformat={fields}"], capture_output=True, text=True, check=True
        ).stdout
    except FileNotFoundError:
        return []
    found = []
    for line in sorted(listed.splitlines()):
        name, version, architecture = line.split("\t")
        name = name.partition(":")[0]
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


def sbom(name: str) -> dict[str, Any]:
    packages = python_packages()
    own = next(each["version"] for each in packages if each["name"] == "kubernaut-signalprocessing")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": name, "name": name, "version": own}},
        "components": packages + debian_packages(),
    }


if __name__ == "__main__":
    print(json.dumps(sbom(sys.argv[1]), indent=1))
