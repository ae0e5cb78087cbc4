"""What went wrong, as a sentence, an exit code, and the command that helps."""

from importlib import import_module


class Failed(Exception):
    """A command that cannot go on."""

    def __init__(self, message: str, *, code: int = 1, helps: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.helps = helps


# Room, error, exit code, what helps. Looked up by name, because a room may not be installed.
_KNOWN: tuple[tuple[str, str, int, str], ...] = (
    ("kubernaut.ops.settings", "SettingsError", 2, ""),
    ("kubernaut.ops.http.server", "PortInUse", 3, ""),
    ("kubernaut.signalprocessing.policy.errors", "PolicyError", 2, ""),
    ("kubernaut.datastorage.errors", "DataStorageError", 3, ""),
    ("kubernaut.embedded.errors", "EmbeddedError", 3, ""),
    ("kubernaut.audit", "AuditError", 3, "kubernaut up, or --url for another DataStorage"),
    ("kubernaut.kube.errors", "KubeError", 3, "kubectl cluster-info, with the same KUBECONFIG"),
)


def explain(error: BaseException) -> Failed | None:
    """The failure to report for an error we know, or None for a defect that must show its traceback."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Failed):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("kubernaut"):
        text = f"{error.name} is not installed"
        return Failed(text, code=2, helps="pip install 'kubernaut-signalprocessing[all]'")
    for room, name, code, helps in _KNOWN:
        try:
            known = getattr(import_module(room), name, None)
        except ModuleNotFoundError:
            continue
        if known is not None and isinstance(error, known):
            return Failed(str(error), code=code, helps=helps)
    if isinstance(error, OSError) and error.strerror:
        return Failed(f"{error.filename or 'writing the answer'}: {error.strerror}", code=3)
    return None
