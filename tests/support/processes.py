"""Looking at processes from outside."""

import os
import sys
from pathlib import Path


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has collected yet counts as ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return Path("/proc/self").exists()


def mentioning(text: str) -> list[str]:
    """`pid command` of every process with `text` in its command line, except this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in command and not is_gone(int(entry.name)):
            found.append(f"{entry.name} {command}")
    return found


def script(text: str) -> list[str]:
    """The command that runs Python code in a process of its own."""
    return [sys.executable, "-c", text]
