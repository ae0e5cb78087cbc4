"""Create, update, patch and delete: what the new state of an object is, and whether it may be.

Nothing here awaits: between reading an object and putting its next version no other write happens,
so that comparing a resourceVersion is enough. Callers wait for the store's commit before they answer.
"""

from dataclasses import dataclass, field
from typing import Any

from pocketkube.codec import encode
from pocketkube.operations import admission
from pocketkube.operations.requests import Options
from pocketkube.patch import managed_fields, server_side_apply
from pocketkube.patch.managed_fields import Entry
from pocketkube.patch.patches import Change
from pocketkube.resources import builtin_defaults, conversion, crds, metadata
from pocketkube.resources.registry import Object, Registry, Resource
from pocketkube.status import (
    MODIFIED,
    ApiError,
    Cause,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
)
from pocketkube.storage.store import Key, Record, Store

_NAMESPACES = "namespaces"
_PROTECTED = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """The answer to a write."""

    code: int
    data: bytes
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """How a deletion wants to be done."""

    uid: str | None = None
    resource_version: str | None = None
    policy: str = ""
    dry_run: bool = False


class Writer:
    """Decides what each write makes of an object."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def create(self, resource: Resource, namespace: str | None, value: Object, options: Options) -> WriteResult:
        """Create an object; raises a 409 when its name is taken."""
        return self._create(resource, namespace, value, options, None)

    def _create(
        self,
        resource: Resource,
        namespace: str | None,
        value: Object,
        options: Options,
        entries: list[Entry] | None,
    ) -> WriteResult:
        check_identity(resource, value)
        content = value["metadata"]
        if content.get("namespace") and content["namespace"] != (namespace or ""):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if content.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        generated = not content.get("name") and bool(content.get("generateName"))
        metadata.set_system_fields(resource, value, namespace or "")
        self._check_namespace(resource, content)
        if resource.custom is not None and resource.has_status:
            value.pop("status", None)
        warnings = self._admit(resource, value, None, options)
        key = (namespace or "", content["name"])
        for _ in range(8 if generated else 0):
            if self._store.get(resource.storage, key) is None:
                break
            content["name"] = metadata.generated_name(content["generateName"])
            key = (namespace or "", content["name"])
        if self._store.get(resource.storage, key) is not None:
            raise already_exists(key[1], resource.group, resource.plural)
        managed_fields.base_entries(value, None)
        if entries is None:
            entries = managed_fields.record_update(resource, [], None, value, options.manager, "")
        if entries:
            content["managedFields"] = entries
        data = self._put(resource, key, value, options.dry_run)
        return WriteResult(code=201, data=data, warnings=warnings)

    def apply(self, resource: Resource, key: Key, subresource: str, config: Object, options: Options) -> WriteResult:
        """Merge what a manager states into the object, or create it; raises a 409 when others own it."""
        check_identity(resource, config)
        config["metadata"].setdefault("name", key[1])
        _check_name(config, key)
        if "managedFields" in config["metadata"]:
            raise bad_request("metadata.managedFields must be nil")
        record = self._store.get(resource.storage, key)
        live: Object = {} if record is None else conversion.to_served(resource, record.as_object())
        admission.check_fields(resource, config, options)
        applied = server_side_apply.ApplyOperation(resource, live, config, options.manager, subresource)
        conflicts = applied.conflicts()
        if conflicts and not options.force and not applied.is_client_side_migration(conflicts):
            raise applied.conflict_error(conflicts)
        value, entries = applied.result(conflicts)
        value = {"apiVersion": resource.api_version, "kind": resource.kind, **value}
        if record is None:
            if subresource:
                raise not_found(key[1], resource.group, resource.plural)
            return self._create(resource, key[0] or None, value, options, entries)
        if not config["metadata"].get("resourceVersion"):
            value["metadata"].pop("resourceVersion", None)
        value["metadata"].pop("managedFields", None)
        return self._update(resource, record, subresource, value, options, entries)

    def replace(self, resource: Resource, key: Key, subresource: str, value: Object, options: Options) -> WriteResult:
        """Replace an object, or only its status."""
        check_identity(resource, value)
        _check_name(value, key)
        record = self._existing(resource, key)
        return self._update(resource, record, subresource, value, options)

    def change(self, resource: Resource, key: Key, subresource: str, change: Change, options: Options) -> WriteResult:
        """Replace an object by what the change makes of it."""
        record = self._existing(resource, key)
        value = change(conversion.to_served(resource, record.as_object()))
        check_identity(resource, value)
        _check_name(value, key)
        uid = value["metadata"].get("uid")
        if uid and uid != record.uid:
            cause = invalid_value("metadata.uid", uid, "field is immutable")
            raise invalid(key[1], resource.group, resource.kind, [cause])
        return self._update(resource, record, subresource, value, options)

    def delete(self, resource: Resource, key: Key, deletion: Deletion) -> WriteResult:
        """Delete an object, or begin to where finalizers must run first."""
        record = self._existing(resource, key)
        value = record.as_object()
        _check_preconditions(resource, key, record, deletion)
        if resource.storage == _NAMESPACES and key[1] in _PROTECTED:
            raise forbidden(key[1], "", _NAMESPACES, "this namespace may not be deleted")
        finalizers = _finalizers_for(value, deletion.policy)
        if resource.storage == crds.STORAGE and crds.FINALIZER not in finalizers:
            finalizers.append(crds.FINALIZER)
        content = value["metadata"]
        waits = (
            finalizers or (value.get("spec") or {}).get("finalizers") if resource.kind == "Namespace" else finalizers
        )
        if not waits:
            return self._deleted(resource, key, value, deletion.dry_run)
        if finalizers != content.get("finalizers", []) or not content.get("deletionTimestamp"):
            content["finalizers"] = finalizers
            if not finalizers:
                del content["finalizers"]
            if not content.get("deletionTimestamp"):
                content["deletionTimestamp"] = metadata.now()
                content["deletionGracePeriodSeconds"] = 0
                if content.get("generation"):
                    content["generation"] += 1
                if resource.kind == "Namespace":
                    value["status"] = {**(value.get("status") or {}), "phase": "Terminating"}
            if not deletion.dry_run:
                record = self._store.put(resource.storage, key, value)
        return WriteResult(code=200, data=_encode_result(resource, record, value))

    def _deleted(self, resource: Resource, key: Key, value: Object, dry_run: bool) -> WriteResult:
        if not dry_run:
            self._store.remove(resource.storage, key, value)
        details = {"name": key[1], "group": resource.group, "kind": resource.plural}
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {
                **{name: text for name, text in details.items() if text},
                "uid": value["metadata"]["uid"],
            },
        }
        return WriteResult(code=200, data=encode(status))

    def _existing(self, resource: Resource, key: Key) -> Record:
        record = self._store.get(resource.storage, key)
        if record is None:
            raise not_found(key[1], resource.group, resource.plural)
        return record

    def _update(
        self,
        resource: Resource,
        record: Record,
        subresource: str,
        value: Object,
        options: Options,
        entries: list[Entry] | None = None,
    ) -> WriteResult:
        old = conversion.to_served(resource, record.as_object())
        self._check_revision(resource, record, value)
        metadata.keep_system_fields(old, value)
        given = managed_fields.base_entries(value, old)
        before = old["metadata"].pop("managedFields", [])
        value = _restricted_to_endpoint(resource, old, value, subresource)
        warnings = self._admit(resource, value, old, options)
        content = value["metadata"]
        content["resourceVersion"] = str(record.revision)
        if _spec_changed(resource, old, value):
            content["generation"] = content.get("generation", 0) + 1
        if record.deleting and not content.get("finalizers") and not _namespace_waits(resource, value):
            last = conversion.to_stored(resource, value)
            if not options.dry_run:
                self._store.remove(resource.storage, record.key, last)
            return WriteResult(code=200, data=encode(conversion.to_served(resource, last)), warnings=warnings)
        if value != old:
            if entries is None:
                entries = managed_fields.record_update(resource, given, old, value, options.manager, subresource)
        elif entries is None:
            entries = given
        if entries:
            content["managedFields"] = entries
        if before:
            old["metadata"]["managedFields"] = before
        if value == old:
            return WriteResult(code=200, data=_encode_result(resource, record, old), warnings=warnings)
        data = self._put(resource, record.key, value, options.dry_run)
        return WriteResult(code=200, data=data, warnings=warnings)

    def _put(self, resource: Resource, key: Key, value: Object, dry_run: bool) -> bytes:
        if dry_run:
            return encode(value)
        record = self._store.put(resource.storage, key, conversion.to_stored(resource, value))
        return _encode_result(resource, record, None)

    def _check_revision(self, resource: Resource, record: Record, value: Object) -> None:
        content = value["metadata"]
        uid = content.get("uid")
        name = record.key[1]
        if uid and uid != record.uid:
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{resource.plural}/{record.key[0]}/{name},"
                f" ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid},"
                f" UID in object meta: {record.uid}"
            )
            raise conflict(name, resource.group, resource.plural, why)
        requested = content.get("resourceVersion")
        if not requested:
            return
        if not requested.isdigit():
            raise ApiError(500, "", f'strconv.ParseUint: parsing "{requested}": invalid syntax')
        if int(requested) not in {0, record.revision}:
            raise conflict(name, resource.group, resource.plural, MODIFIED)

    def _check_namespace(self, resource: Resource, content: dict[str, Any]) -> None:
        name = content.get("namespace")
        if not resource.namespaced or not name:
            return
        namespace = self._store.get(_NAMESPACES, ("", name))
        if namespace is None:
            raise not_found(name, "", _NAMESPACES)
        if namespace.deleting:
            why = f"unable to create new content in namespace {name} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {name} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(content.get("name", ""), resource.group, resource.plural, why, [cause])

    def _admit(self, resource: Resource, value: Object, old: Object | None, options: Options) -> list[str]:
        """Bring the object into its full form and return warnings; raise a 422 when it breaks rules."""
        warnings = admission.check_fields(resource, value, options)
        if old is None:
            builtin_defaults.prepare_for_create(resource, value)
        admission.apply_defaults(resource, value)
        found: list[Cause] = metadata.violations(resource, value["metadata"])
        if old is not None:
            found.extend(metadata.update_violations(old, value))
        if resource.storage == crds.STORAGE:
            crds.apply_defaults(value)
            found.extend(crds.violations(value))
            if not found:
                crds.set_accepted(value, self._registry)
        else:
            found.extend(admission.violations(resource, value, old))
        if found:
            raise invalid(value["metadata"].get("name", ""), resource.group, resource.kind, found)
        return warnings


def check_identity(resource: Resource, value: Object) -> None:
    """Make sure that the body is an object of this resource; raise a 400 otherwise."""
    if not isinstance(value, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    kind, api_version = value.get("kind") or resource.kind, value.get("apiVersion") or resource.api_version
    if (kind, api_version) != (resource.kind, resource.api_version):
        raise bad_request(
            f'{kind} in version "{str(api_version).rpartition("/")[2]}" cannot be handled as a'
            f" {resource.kind}: no kind {kind!r} is served at {api_version}"
        )
    rest = {name: content for name, content in value.items() if name not in {"kind", "apiVersion", "metadata"}}
    content = value.get("metadata")
    if content is None:
        content = {}
    wrong = metadata.type_error(content)
    if wrong:
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {wrong}'
        )
    value.clear()
    value.update({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": content}, **rest)


def _check_name(value: Object, key: Key) -> None:
    name = value["metadata"].get("name")
    if not name:
        raise bad_request(f"the name of the object ({key[1]} based on URL) was undeterminable: name must be provided")
    if name != key[1]:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({key[1]})")
    namespace = value["metadata"].get("namespace")
    if namespace and namespace != key[0]:
        raise bad_request(
            f"the namespace of the object ({namespace}) does not match the namespace on the URL ({key[0]})"
        )


def _check_preconditions(resource: Resource, key: Key, record: Record, deletion: Deletion) -> None:
    if deletion.uid is not None and deletion.uid != record.uid:
        why = (
            f"the UID in the precondition ({deletion.uid}) does not match the UID in record ({record.uid})."
            " The object might have been deleted and then recreated"
        )
        raise conflict(key[1], resource.group, resource.kind, why)
    version = deletion.resource_version
    if version is not None and version != str(record.revision):
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record"
            f" ({record.revision}). The object might have been modified"
        )
        raise conflict(key[1], resource.group, resource.kind, why)


def _finalizers_for(value: Object, policy: str) -> list[str]:
    """Return the finalizers that must run before an object is gone."""
    finalizers = [
        finalizer
        for finalizer in value["metadata"].get("finalizers", [])
        if not policy or finalizer not in {"orphan", "foregroundDeletion"}
    ]
    if policy == "Orphan":
        finalizers.append("orphan")
    elif policy == "Foreground":
        finalizers.append("foregroundDeletion")
    return finalizers


def _restricted_to_endpoint(resource: Resource, old: Object, value: Object, subresource: str) -> Object:
    """Return the part of the new object that this endpoint may change, over the old one."""
    if subresource == "status":
        kept = {name: content for name, content in old.items() if name != "status"}
        if "status" in value:
            kept["status"] = value["status"]
        if resource.custom is None:
            kept["metadata"] = {**old["metadata"], **_labels_and_annotations(value)}
        kept["metadata"] = dict(kept["metadata"])
        return kept
    if subresource == "finalize":
        return {**old, "metadata": dict(old["metadata"]), "spec": value.get("spec", {})}
    if resource.has_status:
        value.pop("status", None)
        if "status" in old:
            value["status"] = old["status"]
    if resource.kind == "Namespace":
        value["spec"] = old.get("spec", {})
    return value


def _labels_and_annotations(value: Object) -> dict[str, Any]:
    content = value["metadata"]
    return {key: content[key] for key in ("labels", "annotations") if key in content}


def _namespace_waits(resource: Resource, value: Object) -> bool:
    return resource.kind == "Namespace" and bool((value.get("spec") or {}).get("finalizers"))


def _spec_changed(resource: Resource, old: Object, value: Object) -> bool:
    if not resource.has_generation:
        return False
    ignored = {"apiVersion", "kind", "metadata", *(("status",) if resource.has_status else ())}
    return {k: v for k, v in old.items() if k not in ignored} != {k: v for k, v in value.items() if k not in ignored}


def _encode_result(resource: Resource, record: Record, value: Object | None) -> bytes:
    if not resource.needs_conversion:
        return record.data
    return encode(conversion.to_served(resource, value if value is not None else record.as_object()))
