"""The directory under which a user's workspaces lie. Its path is short, because the path of a Unix socket must be.

The records of projects whose own directory cannot be written lie there, too.
"""

import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path

_RECORDS = "records-"


def temp_root() -> Path:
    """`/tmp` where there is one: the temporary directory of macOS is too long for a socket."""
    short = Path("/tmp")  # noqa: S108
    return short if os.access(short, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def user_directory() -> Path:
    """`<temp root>/muster-<uid>`, made if need be; raises `PermissionError` if somebody else has made it."""
    path = temp_root() / f"muster-{os.getuid()}"
    path.mkdir(mode=0o711, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{path} is not a directory of this user; remove it")
    if stat.S_IMODE(found.st_mode) != 0o711:  # the umask has taken something away, or somebody has added something
        path.chmod(0o711)
    return path


def records_directory(root: Path) -> Path:
    """Where the records of a project are kept if they cannot be kept in it; raises OSError as `user_directory` does."""
    digest = hashlib.blake2s(os.fsencode(root), digest_size=8).hexdigest()
    return user_directory() / f"{_RECORDS}{digest}"


def is_workspace(path: Path) -> bool:
    """Whether a path is that of a workspace, so that it may be removed."""
    user = path.parent
    others = path.name == "ports" or path.name.startswith(_RECORDS)
    return user.parent == temp_root() and bool(re.fullmatch(r"muster-\d+", user.name)) and not others


def remove_tree(path: Path) -> None:
    """Remove a directory, whatever modes it holds; raises `OSError` if it cannot be removed."""
    if path.is_symlink() or not path.exists():
        path.unlink(missing_ok=True)
    elif sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=lambda remove, name, error: _again(name, error))
    else:
        shutil.rmtree(path, onerror=lambda remove, name, info: _again(name, info[1]))


def _again(name: str, error: BaseException) -> None:
    """Remove what could not be removed, with the rights that its owner may take."""
    if isinstance(error, FileNotFoundError):
        return
    path = Path(name)
    path.parent.chmod(0o700)
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
