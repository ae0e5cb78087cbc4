"""Installing CustomResourceDefinitions, and waiting until they are served."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any

import structlog

from kubernaut.api.meta import ObjectMeta, Wire
from kubernaut.kube.client import Client, ListOptions
from kubernaut.kube.errors import AlreadyExists, Conflict, KubeError, NotFound, TimedOut
from kubernaut.kube.objects import Key, Kind, Unstructured
from kubernaut.kube.watch import list_and_watch

log = structlog.get_logger("kube")


class _Condition(Wire, frozen=True):
    type: str
    status: str
    message: str = ""


class _Status(Wire, frozen=True):
    conditions: tuple[_Condition, ...] = ()


class CustomResourceDefinition(Wire, frozen=True):
    """A definition's conditions, without its schema."""

    metadata: ObjectMeta = ObjectMeta()
    status: _Status = _Status()

    def condition(self, type: str) -> _Condition | None:
        return next((condition for condition in self.status.conditions if condition.type == type), None)


CRD = Kind(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
    type=CustomResourceDefinition,
)
_UNSTRUCTURED_CRD: Kind[Unstructured] = CRD.with_type(Unstructured)


async def ensure_crds(client: Client, manifests: Iterable[Mapping[str, Any]], *, timeout: float = 30.0) -> None:
    """Create each definition or bring it up to date, and return when objects of all of them can be written.

    Safe to run from many processes at once. Raises `KubeError`, such as `Invalid` when the server rejects a manifest
    and `TimedOut` when a definition is not established in time.
    """
    definitions = [dict(manifest) for manifest in manifests]
    try:
        async with asyncio.timeout(timeout):
            for manifest in definitions:
                await _apply(client, manifest)
            for manifest in definitions:
                await _wait_until_established(client, manifest)
    except TimeoutError as error:
        names = ", ".join(manifest["metadata"]["name"] for manifest in definitions)
        raise TimedOut(f"CRDs not established after {timeout:g} s: {names}") from error


async def _apply(client: Client, manifest: Unstructured) -> None:
    key = Key("", manifest["metadata"]["name"])
    while True:
        try:
            stored = await client.get(_UNSTRUCTURED_CRD, key)
        except NotFound:
            try:
                await client.create(_UNSTRUCTURED_CRD, manifest)
            except AlreadyExists:
                continue  # another process created it; ours may be the newer manifest all the same
            log.info("CRD created", crd=key.name)
            return
        metadata = stored["metadata"] | {
            name: stored["metadata"].get(name, {}) | manifest["metadata"].get(name, {})
            for name in ("labels", "annotations")
        }
        try:
            await client.replace(_UNSTRUCTURED_CRD, stored | {"metadata": metadata, "spec": manifest["spec"]})
        except Conflict:
            continue
        return


async def _wait_until_established(client: Client, manifest: Unstructured) -> None:
    name = manifest["metadata"]["name"]
    source = list_and_watch(client, CRD, ListOptions(field_selector=f"metadata.name={name}"))
    async with aclosing(source) as deltas:
        async for delta in deltas:
            if delta.object is None:
                continue
            names_accepted = delta.object.condition("NamesAccepted")
            if names_accepted is not None and names_accepted.status == "False":
                raise KubeError(f"{name}: {names_accepted.message}")
            established = delta.object.condition("Established")
            if established is not None and established.status == "True":
                break
    # The condition is set a moment before the paths are served.
    spec = manifest["spec"]
    version = next(version["name"] for version in spec["versions"] if version["served"])
    kind = Kind(
        group=spec["group"],
        version=version,
        kind=spec["names"]["kind"],
        plural=spec["names"]["plural"],
        namespaced=spec["scope"] == "Namespaced",
        type=Unstructured,
    )
    while True:
        try:
            await client.get_raw(kind.collection(), {"limit": "1"})
        except NotFound:
            await asyncio.sleep(0.02)
        else:
            return
