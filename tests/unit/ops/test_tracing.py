"""Without an endpoint tracing costs nothing."""

import subprocess
import sys

PROGRAM = """
import sys
from kubernaut.ops import tracing
import kubernaut.audit, kubernaut.datastorage.service
with tracing.span("nothing"):
    assert tracing.current() is None
assert tracing.trace_headers() == {}
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_library_is_not_imported_without_an_endpoint():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)

    assert result.stdout == "[]\n"
