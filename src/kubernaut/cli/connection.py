"""How a command reaches DataStorage."""

from pathlib import Path
from typing import Annotated

import cyclopts

UrlOption = Annotated[
    str,
    cyclopts.Parameter(
        name="--url", env_var="KUBERNAUT_DATASTORAGE_URL", help="URL of DataStorage; `kubernaut up` prints it"
    ),
]
TokenOption = Annotated[Path | None, cyclopts.Parameter(name="--token-file", help="File with a bearer token")]

DEFAULT_URL = "http://127.0.0.1:8080"
