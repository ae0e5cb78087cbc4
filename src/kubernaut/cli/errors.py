"""Known errors as a message, an exit code, and the command that helps."""

from importlib import import_module

from kubernaut.ops.tasks import first_error


class CommandError(Exception):
    """A command that cannot continue."""

    def __init__(self, message: str, *, code: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


# Module, error, exit code, hint. Looked up by name, because the module's extra may not be installed.
_KNOWN: tuple[tuple[str, str, int, str], ...] = (
    ("kubernaut.ops.settings", "SettingsError", 2, ""),
    ("kubernaut.ops.http.server", "PortInUse", 3, ""),
    ("kubernaut.signalprocessing.policy.errors", "PolicyError", 2, ""),
    ("kubernaut.datastorage.errors", "DataStorageError", 3, ""),
    ("kubernaut.embedded.errors", "EmbeddedError", 3, ""),
    ("kubernaut.audit", "SpoolLocked", 3, "stop the service that uses the spool"),
    ("kubernaut.audit", "SpoolError", 3, "--spool with the `spoolDir` of a service"),
    ("kubernaut.audit", "StoreRejected", 2, "kubernaut audit query --help"),
    ("kubernaut.audit.errors", "StoreUnauthorized", 3, "--token-file with the token of somebody who may do this"),
    ("kubernaut.audit.errors", "TokenUnusable", 3, "--token-file with a file that holds a token"),
    ("kubernaut.audit.errors", "StoreNotFound", 1, "kubernaut audit query"),
    ("kubernaut.audit.errors", "StoreBusy", 3, "the log and /readyz of that DataStorage"),
    ("kubernaut.audit", "AuditError", 3, "kubernaut up, or --url for another DataStorage"),
    ("kubernaut.kube.errors", "BadRequest", 2, ""),
    ("kubernaut.kube.errors", "Misconfigured", 3, "kubernaut up, or --kubeconfig and --context for another cluster"),
    ("kubernaut.kube.errors", "Forbidden", 3, "kubectl auth can-i --list, with the same KUBECONFIG"),
    ("kubernaut.kube.errors", "NotFound", 3, "kubernaut crd | kubectl apply --server-side -f -"),
    ("kubernaut.kube.errors", "KubeError", 3, "kubectl cluster-info, with the same KUBECONFIG"),
)


def command_error(error: BaseException) -> CommandError | None:
    """The error to report for one we know, or None for a defect that must show its traceback."""
    error = first_error(error)
    if isinstance(error, CommandError):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("kubernaut"):
        text = f"{error.name} is not installed"
        return CommandError(text, code=2, hint="pip install 'kubernaut-signalprocessing[all]'")
    for module, name, code, hint in _KNOWN:
        try:
            known = getattr(import_module(module), name, None)
        except ModuleNotFoundError:
            continue
        if known is not None and isinstance(error, known):
            return CommandError(str(error), code=code, hint=hint)
    if isinstance(error, OSError) and error.strerror:
        return CommandError(f"{error.filename or 'standard output'}: {error.strerror}", code=3)
    return None
