"""Which kubeconfig files there are, and several of them as one, as kubectl has it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from lightkube.config.kubeconfig import KubeConfig

from kubernaut.kube.errors import Misconfigured

DEFAULT_KUBECONFIG = Path("~/.kube/config")

_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_PATHS = {"certificate-authority", "client-certificate", "client-key", "tokenFile"}


def default_kubeconfigs(env: Mapping[str, str]) -> tuple[Path, ...]:
    """kubectl's files: those that `KUBECONFIG` lists, else `~/.kube/config` where it is; empty for a pod's account."""
    if listed := env.get("KUBECONFIG", ""):
        return tuple(dict.fromkeys(Path(name).expanduser() for name in listed.split(os.pathsep) if name))
    path = Path(env.get("HOME") or Path.home()) / ".kube" / "config"
    return (path,) if path.exists() else ()


def merged(paths: Sequence[Path]) -> dict[str, Any]:
    """The content of kubeconfig files as one, with absolute paths. Raises Misconfigured."""
    # A directory is found as well, and is none that can be read.
    found = [path for path in paths if path.expanduser().exists()]
    if not found:
        raise Misconfigured(f"no such file: {', '.join(map(str, paths))}")
    result: dict[str, Any] = {section: {} for section in _SECTIONS}
    current = ""
    for path in found:
        content = _content(path.expanduser())
        current = current or content.get("current-context") or ""
        for section, key in _SECTIONS.items():
            for entry in content.get(section) or ():
                result[section].setdefault(entry["name"], {"name": entry["name"], key: entry.get(key) or {}})
    sections = {section: list(entries.values()) for section, entries in result.items()}
    return {"apiVersion": "v1", "kind": "Config", "current-context": current or None, **sections}


def minified(paths: Sequence[Path], context: str) -> dict[str, Any]:
    """One context of kubeconfig files with its cluster and user, as `kubectl config view --minify` has it.

    Raises Misconfigured, and KeyError for a context that is not there.
    """
    content = merged(paths)
    by_name = {section: {entry["name"]: entry for entry in content[section]} for section in _SECTIONS}
    chosen = by_name["contexts"][context]
    names = {"clusters": chosen["context"].get("cluster"), "contexts": context, "users": chosen["context"].get("user")}
    sections = {
        section: [by_name[section][name]] if name in by_name[section] else [] for section, name in names.items()
    }
    return {**content, "current-context": context, **sections}


def _content(path: Path) -> dict[str, Any]:
    """One file, whose relative paths are relative to its own folder. Raises Misconfigured."""
    try:
        content: Any = yaml.safe_load(path.read_text()) or {}
        KubeConfig.from_dict({"clusters": [], "contexts": [], **{name: v for name, v in content.items() if v}})
        for section, key in _SECTIONS.items():
            for entry in content.get(section) or ():
                values = entry.get(key) or {}
                for name in _PATHS & values.keys():
                    values[name] = str(path.absolute().parent / values[name]) if values[name] else ""
                command = (values.get("exec") or {}).get("command", "")
                if "/" in command:
                    values["exec"]["command"] = str(path.absolute().parent / command)
    except OSError as error:
        raise Misconfigured(f"kubeconfig {path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        # The message would quote the file, and the file holds secrets.
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Misconfigured(f"{path} is not a kubeconfig: not valid YAML{place}") from None
    except (msgspec.ValidationError, yaml.YAMLError, ValueError, AttributeError, KeyError, TypeError):
        # The same.
        raise Misconfigured(
            f"{path} is not a kubeconfig: clusters, contexts and users are expected, each a list of names and values"
        ) from None
    return dict(content)
