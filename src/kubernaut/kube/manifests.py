"""Manifests of files and folders, read as kubectl reads them.

Several documents in one file, Lists, empty files and fields that are null are all as kubectl has them; a file of
kustomize is left out, because it is no object. What stands nowhere in a manifest comes from Kubernetes: a namespaced
object without a namespace is one of `default`, and a CustomResourceDefinition beside it says whether a kind is.
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


def read(place: Path) -> Manifests:
    """Every object of a file, or of all YAML and JSON files below a folder. Raises ManifestError."""
    result = Manifests()
    for path in _files(place, result.notes):
        for index, document in enumerate(documents(_bytes(path), str(path)), start=1):
            where = f"{path}, document {index}"
            result.objects += [Manifest(file=str(path), content=each) for each in _objects(document, where)]
    result.kinds = [kind for each in result.objects for kind in _defined_kinds(each.content)]
    scopes = {(kind.group, kind.kind): kind.namespaced for kind in result.kinds}
    for each in result.objects:
        _set_namespace(each.content, scopes)
    return result


def documents(content: bytes, file: str) -> list[Any]:
    """The documents of a YAML or JSON file, without those that are empty. Raises ManifestError."""
    text = content.lstrip(BOM_UTF8 + b" \t\r\n")
    if text[:1] in (b"{", b"["):
        # JSON allows what YAML does not: tabs, and escaped slashes.
        try:
            return [json.loads(text)]
        except (ValueError, RecursionError):
            pass  # YAML in braces, or several documents
    try:
        return [each for each in yaml.load_all(content, Loader=_Loader) if each is not None]
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ManifestError(f"{file}: not valid JSON or YAML: {error}") from error


class _Loader(yaml.CSafeLoader):
    """YAML as kubectl reads it: a time or a date is a text."""


_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for sign, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _files(place: Path, notes: list[str]) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise ManifestError(f"{place}: no such file or folder")
    for path in sorted(place.rglob("*")):
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
    if str(document.get("kind", "")).endswith("List") and "items" in document:
        for item in document["items"] or ():
            yield from _objects(item, where)
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
    yield cleaned


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
