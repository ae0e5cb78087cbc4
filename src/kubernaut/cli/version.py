"""`kubernaut version`."""

import platform
from importlib.metadata import version as version_of

from kubernaut.cli.output import Output, OutputOption, emit, say


def version(*, output: OutputOption = Output.TABLE) -> int:
    """Print the version of this program and of Python; the versions of services are in their metrics and logs."""
    found = {
        "version": version_of("kubernaut-signalprocessing"),
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
    if not emit(found, output, [found["version"]]):
        say(f"kubernaut {found['version']} (Python {found['python']}, {found['platform']})")
    return 0
