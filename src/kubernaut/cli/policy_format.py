"""`kubernaut policy fmt`: the form that all of Rego has, by the formatter of OPA."""

import asyncio
import shutil
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import cyclopts

from kubernaut.cli.errors import CommandError
from kubernaut.cli.output import say
from kubernaut.cli.policy import PolicyArgument
from kubernaut.ops.visible_text import visible

TIMEOUT = 60.0  # seconds


async def fmt(
    policy: PolicyArgument,
    /,
    *,
    write: Annotated[bool, cyclopts.Parameter(help="Change the files instead of showing what would change")] = False,
) -> int:
    """Show how the files of a policy differ from OPA's form, or bring them into it; exit code 1 when some differ.

    It needs the `opa` command, because no library formats Rego. With `--write` the exit code is 0.
    """
    if not policy.exists():
        raise CommandError(f"{policy}: no such file or folder", code=2)
    files = sorted(policy.glob("*.rego")) if policy.is_dir() else [policy]
    if not files:
        raise CommandError(f"{policy}: there is no *.rego file", code=2)
    is_different = False
    for path in files:
        text = path.read_text("utf-8", errors="replace")
        formatted = await _opa(path)
        if formatted == text:
            continue
        is_different = True
        if write:
            await _opa("--write", path)
            say(f"{visible(str(path))}: formatted")
            continue
        for line in unified_diff(
            text.splitlines(), formatted.splitlines(), str(path), f"{path}, formatted", lineterm=""
        ):
            say(visible(line))
    return 1 if is_different and not write else 0


async def _opa(*operands: str | Path) -> str:
    """What `opa fmt` prints; the last operand is the file."""
    path = operands[-1]
    command = shutil.which("opa")
    if command is None:
        text = "`policy fmt` needs OPA's formatter, and there is no `opa` on the PATH"
        raise CommandError(text, code=3, hint="install it from https://www.openpolicyagent.org/docs#running-opa")
    process = await asyncio.create_subprocess_exec(
        *(command, "fmt", *map(str, operands)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandError(f"{path}: opa fmt took longer than {TIMEOUT:g} s", code=3) from None
    if process.returncode:
        lines = errors.decode(errors="replace").splitlines() or ["opa fmt failed"]
        placed = [line for line in lines if line.startswith(f"{path}:")]
        raise CommandError(visible(placed[0]) if placed else f"{path}: {visible(lines[0])}", code=1)
    return output.decode(errors="replace")
