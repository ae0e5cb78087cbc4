"""Manifests of files and folders, read as kubectl reads them.

Several documents in one file, Lists, empty files, fields that are null and folders in the folder are all as kubectl has
them; a file of kustomize is left out, because it is no object. What stands nowhere in a manifest comes from Kubernetes:
a namespaced object without a namespace is one of `default`, and a CustomResourceDefinition beside it says whether a
kind is.
"""

import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubernaut.kube.objects import Kind, PartialObjectMetadata, Unstructured

DEFAULT_NAMESPACE = "default"
SUFFIXES = (".json", ".yaml", ".yml")
KUSTOMIZATION_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
CLUSTER_SCOPED = frozenset(
    {
        ("", "ComponentStatus"),
        ("", "Namespace"),
        ("", "Node"),
        ("", "PersistentVolume"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("authentication.k8s.io", "SelfSubjectReview"),
        ("authentication.k8s.io", "TokenReview"),
        ("authorization.k8s.io", "SelfSubjectAccessReview"),
        ("authorization.k8s.io", "SelfSubjectRulesReview"),
        ("authorization.k8s.io", "SubjectAccessReview"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("certificates.k8s.io", "ClusterTrustBundle"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("internal.apiserver.k8s.io", "StorageVersion"),
        ("networking.k8s.io", "ClusterCIDR"),
        ("networking.k8s.io", "IPAddress"),
        ("networking.k8s.io", "IngressClass"),
        ("networking.k8s.io", "ServiceCIDR"),
        ("node.k8s.io", "RuntimeClass"),
        ("policy", "PodSecurityPolicy"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("resource.k8s.io", "DeviceClass"),
        ("resource.k8s.io", "DeviceTaintRule"),
        ("resource.k8s.io", "ResourcePoolStatusRequest"),
        ("resource.k8s.io", "ResourceSlice"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "CSIDriver"),
        ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "StorageClass"),
        ("storage.k8s.io", "VolumeAttachment"),
        ("storage.k8s.io", "VolumeAttributesClass"),
        ("storagemigration.k8s.io", "StorageVersionMigration"),
    }
)
"""Kinds of Kubernetes that have no namespace, by group and kind."""


class ManifestError(ValueError):
    """A file is no manifest; the text names the file."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One object, and the file that it stands in."""

    file: str
    content: Unstructured


@dataclass(kw_only=True)
class Manifests:
    """The objects of a folder in the order of their files, each with its namespace."""

    objects: list[Manifest] = field(default_factory=list)
    kinds: list[Kind[PartialObjectMetadata]] = field(default_factory=list)
    """Kinds of the CustomResourceDefinitions among them."""
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""


def read(place: Path, *, recursive: bool = False) -> Manifests:
    """Every object of a file, or of all YAML and JSON files in a folder. Raises ManifestError.

    As with kubectl, folders in the folder are read only where that is asked for.
    """
    result = Manifests()
    for path in _files(place, result.notes, recursive=recursive):
        for index, document in enumerate(documents(_bytes(path), str(path)), start=1):
            where = f"{path}, document {index}"
            result.objects += [Manifest(file=str(path), content=each) for each in _objects(document, where)]
    if not result.objects:
        result.notes.append(f"{place}: has no manifests, so nothing is known about the cluster")
    result.kinds = [kind for each in result.objects for kind in _defined_kinds(each.content)]
    scopes = {(kind.group, kind.kind): kind.namespaced for kind in result.kinds}
    for each in result.objects:
        _set_namespace(each.content, scopes)
    result.notes += _repeated(result.objects)
    return result


def documents(content: bytes, file: str) -> list[Any]:
    """The documents of a YAML or JSON file, without those that are empty. Raises ManifestError."""
    text = content.lstrip(BOM_UTF8 + b" \t\r\n")
    if text[:1] in (b"{", b"["):
        # JSON allows what YAML does not: tabs, and escaped slashes.
        try:
            return _json_values(text.decode(json.detect_encoding(text)))
        except json.JSONDecodeError as error:
            if file.endswith(".json"):
                raise ManifestError(f"{file}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from error
        except (ValueError, RecursionError):
            pass  # YAML in braces, or what is no text
    try:
        return [each for each in yaml.load_all(content, Loader=_Loader) if each is not None]
    except yaml.MarkedYAMLError as error:
        raise ManifestError(_fault(error, content, file)) from error
    except yaml.reader.ReaderError as error:
        # Its position counts bytes or characters.
        raise ManifestError(f"{file}: not valid JSON or YAML: {_reason(content) or error.reason}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ManifestError(f"{file}: not valid JSON or YAML: {error}") from error


def _json_values(text: str) -> list[Any]:
    """The values of a stream of JSON. Raises ValueError or RecursionError."""
    decoder, found, position = json.JSONDecoder(), [], 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        found += [] if value is None else [value]
        while position < len(text) and text[position].isspace():
            position += 1
    return found


def _fault(error: yaml.MarkedYAMLError, content: bytes, file: str) -> str:
    mark = error.problem_mark or error.context_mark
    lines = content.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else b""
    place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    hint = ""
    if line.lstrip(b" ").startswith(b"\t"):
        hint = "; YAML is indented with blanks, not with tabs"
    elif b"{{" in content:
        hint = "; for a template of Helm give what `helm template` prints"
    return f"{file}{place}: not valid JSON or YAML: {error.problem or error.context}{hint}"


def _reason(content: bytes) -> str:
    """Why bytes are no text; empty where they are."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason} at byte {error.start + 1}"
    return ""


class _Loader(yaml.CSafeLoader):
    """YAML as kubectl reads it: a time or a date is a text."""


_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for sign, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _repeated(objects: Sequence[Manifest]) -> Iterator[str]:
    """A note for each object that stands in the manifests more than once."""
    seen: dict[tuple[str, ...], str] = {}
    for each in objects:
        metadata, kind = each.content["metadata"], str(each.content["kind"])
        group = str(each.content["apiVersion"]).rpartition("/")[0]
        key = (group, kind, metadata.get("namespace", ""), metadata["name"])
        if key in seen:
            at = f" in {key[2]}" if key[2] else ""
            yield f"{each.file}: {kind}/{key[3]}{at} stands in {seen[key]} as well; the last one counts"
        seen[key] = each.file


def _files(place: Path, notes: list[str], *, recursive: bool) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise ManifestError(f"{place}: no such file or folder")
    below = [path for path in sorted(place.rglob("*")) if path.suffix in SUFFIXES or path.name in KUSTOMIZATION_NAMES]
    here = below if recursive else [path for path in below if path.parent == place]
    if left_out := len(below) - len(here):
        notes.append(f"{place}: {left_out} files in folders below it are left out, as by kubectl; -R reads them")
    for path in here:
        if path.is_symlink() and not path.exists():
            raise ManifestError(f"{path}: is a link to a file that is not there")
        if path.name in KUSTOMIZATION_NAMES and path.is_file():
            notes.append(f"{path}: left out, because kustomize is not run; give what `kubectl kustomize` prints")
        elif path.suffix in SUFFIXES and path.is_file():
            yield path


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error


def _objects(document: Any, where: str) -> Iterator[Unstructured]:
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: not a Kubernetes object")
    kind = str(document.get("kind", ""))
    if kind.endswith("List") and "items" in document:
        # The API leaves out in a PodList what every Pod in it has in common.
        common = {"apiVersion": document.get("apiVersion"), "kind": kind.removesuffix("List")} if kind != "List" else {}
        for item in document["items"] or ():
            yield from _objects({**common, **item} if isinstance(item, dict) else item, where)
        return
    try:
        cleaned: Unstructured = _without_nulls(document)
    except RecursionError:
        raise ManifestError(f"{where}: nested too deep") from None
    for key in ("apiVersion", "kind"):
        if not isinstance(cleaned.get(key), str) or not cleaned[key]:
            raise ManifestError(f"{where}: not a Kubernetes object: {key} is not set")
    metadata = cleaned.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise ManifestError(f"{where}: not a Kubernetes object: metadata.name is not set")
    for path, value in _texts(metadata):
        if not isinstance(value, str):
            raise ManifestError(f"{where}: metadata.{path} is no text but {json.dumps(value)}: put it in quotes")
    yield cleaned


def _texts(metadata: Unstructured) -> Iterator[tuple[str, Any]]:
    """What is text in the metadata of every object, by its path."""
    for name in ("name", "namespace"):
        if name in metadata:
            yield name, metadata[name]
    for name in ("labels", "annotations"):
        values = metadata.get(name)
        if isinstance(values, dict):
            yield from ((f"{name}.{key}", value) for key, value in values.items())


def _without_nulls(value: Any) -> Any:
    """A field that is null is one that is not there."""
    if isinstance(value, dict):
        return {str(key): _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _defined_kinds(content: Unstructured) -> Iterable[Kind[PartialObjectMetadata]]:
    if content["kind"] != "CustomResourceDefinition":
        return ()
    spec = content.get("spec") or {}
    names = spec.get("names") or {}
    versions: Sequence[Any] = spec.get("versions") or [{"name": spec.get("version", "")}]
    return [
        Kind(
            group=str(spec.get("group", "")),
            version=str(version.get("name", "")),
            kind=str(names.get("kind", "")),
            plural=str(names.get("plural", "")),
            namespaced=spec.get("scope", "Namespaced") == "Namespaced",
            type=PartialObjectMetadata,
        )
        for version in versions
        if isinstance(version, dict)
    ]


def _set_namespace(content: Unstructured, scopes: dict[tuple[str, str], bool]) -> None:
    group = str(content["apiVersion"]).rpartition("/")[0]
    kind = (group, str(content["kind"]))
    metadata = content["metadata"]
    if kind in scopes:
        namespaced = scopes[kind]
    elif _is_builtin(group):
        namespaced = kind not in CLUSTER_SCOPED
    else:
        # Without its definition, only the manifest tells.
        namespaced = bool(metadata.get("namespace"))
    if not namespaced:
        metadata.pop("namespace", None)
    elif not metadata.get("namespace"):
        metadata["namespace"] = DEFAULT_NAMESPACE


def _is_builtin(group: str) -> bool:
    return "." not in group or group in {known for known, _ in CLUSTER_SCOPED} or group in _NAMESPACED_GROUPS


_NAMESPACED_GROUPS = frozenset({"coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "lifecycle.k8s.io"})
