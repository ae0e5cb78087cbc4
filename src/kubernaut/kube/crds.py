"""Installing CustomResourceDefinitions, and knowing when they can be used."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any

import structlog

from kubernaut.api.meta import ObjectMeta, Wire
from kubernaut.kube.client import Client, Selection
from kubernaut.kube.errors import AlreadyExists, Conflict, KubeError, NotFound, TimedOut
from kubernaut.kube.objects import Key, Kind, Raw
from kubernaut.kube.watch import changes

log = structlog.get_logger("kube")


class _Condition(Wire, frozen=True):
    type: str
    status: str
    message: str = ""


class _Status(Wire, frozen=True):
    conditions: tuple[_Condition, ...] = ()


class CustomResourceDefinition(Wire, frozen=True):
    """Only what tells whether the definition is in use."""

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
_WHOLE: Kind[Raw] = CRD.narrowed(Raw)


async def ensure_crds(client: Client, manifests: Iterable[Mapping[str, Any]], *, within: float = 30.0) -> None:
    """Create each definition or bring it up to date, and return when objects of all of them can be written.

    Safe to run from many processes at once. Raises `KubeError`, such as `Invalid` for a manifest the server refuses and
    `TimedOut` when a definition is not established in time.
    """
    all_of_them = [dict(manifest) for manifest in manifests]
    try:
        async with asyncio.timeout(within):
            for manifest in all_of_them:
                await _write(client, manifest)
            for manifest in all_of_them:
                await _established(client, manifest)
    except TimeoutError as error:
        names = ", ".join(manifest["metadata"]["name"] for manifest in all_of_them)
        raise TimedOut(f"not established within {within:g} s: {names}") from error


async def _write(client: Client, manifest: Raw) -> None:
    key = Key("", manifest["metadata"]["name"])
    while True:
        try:
            there = await client.get(_WHOLE, key)
        except NotFound:
            try:
                await client.create(_WHOLE, manifest)
            except AlreadyExists:
                continue  # another process was faster; ours may be the newer manifest all the same
            log.info("definition created", crd=key.name)
            return
        metadata = there["metadata"] | {
            name: there["metadata"].get(name, {}) | manifest["metadata"].get(name, {})
            for name in ("labels", "annotations")
        }
        try:
            await client.replace(_WHOLE, there | {"metadata": metadata, "spec": manifest["spec"]})
        except Conflict:
            continue
        return


async def _established(client: Client, manifest: Raw) -> None:
    name = manifest["metadata"]["name"]
    following = changes(client, CRD, Selection(fields=f"metadata.name={name}"))
    async with aclosing(following) as states:
        async for change in states:
            if change.object is None:
                continue
            refused = change.object.condition("NamesAccepted")
            if refused is not None and refused.status == "False":
                raise KubeError(f"{name}: {refused.message}")
            established = change.object.condition("Established")
            if established is not None and established.status == "True":
                break
    # Established is said a moment before the paths are served.
    spec = manifest["spec"]
    version = next(version["name"] for version in spec["versions"] if version["served"])
    kind = Kind(
        group=spec["group"],
        version=version,
        kind=spec["names"]["kind"],
        plural=spec["names"]["plural"],
        namespaced=spec["scope"] == "Namespaced",
        type=Raw,
    )
    while True:
        try:
            await client.read(kind.collection(), {"limit": "1"})
        except NotFound:
            await asyncio.sleep(0.02)
        else:
            return
