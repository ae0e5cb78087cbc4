"""Which kinds a server has, and where: `apps/v1` and `Deployment` become a `Kind`.

It asks for one group at a time in the form that every server since 1.7 understands. What was found is believed for
good; what was not found is asked for again, but not more often than once per `again_after` seconds, for a CRD may have
been installed meanwhile, and any stranger's owner reference can name a kind that never existed.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import msgspec
import structlog

from kubernaut.kube.client import Client
from kubernaut.kube.errors import KubeError, NotFound
from kubernaut.kube.objects import Kind, PartialObject

T = TypeVar("T")
log = structlog.get_logger("kube")


class _Resource(msgspec.Struct, rename="camel"):
    name: str
    kind: str
    namespaced: bool
    singular_name: str = ""
    verbs: list[str] = []


class _ResourceList(msgspec.Struct):
    resources: list[_Resource] | None = None


class _Version(msgspec.Struct, rename="camel"):
    group_version: str = ""


class _Group(msgspec.Struct, rename="camel"):
    name: str
    versions: list[_Version]
    preferred_version: _Version


class _GroupList(msgspec.Struct):
    groups: list[_Group] | None = None


@dataclass(frozen=True)
class _Read:
    when: float
    kinds: Mapping[str, Kind[PartialObject]]
    """By name of the kind."""
    singular: Mapping[str, Kind[PartialObject]]


@dataclass(frozen=True)
class _Names:
    when: float
    names: Mapping[str, Kind[PartialObject]]


class Discovery:
    """What one server has. Raises a `KubeError` only when the server could not be asked."""

    def __init__(self, client: Client, again_after: float = 30.0) -> None:
        self._client = client
        self._again_after = again_after
        self._read: dict[str, _Read] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._names: _Names | None = None
        self._naming = asyncio.Lock()

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObject] | None:
        """The kind as the server serves it, with its plural and scope; None when it has none of that name."""
        async with self._locks.setdefault(api_version, asyncio.Lock()):
            read = self._read.get(api_version)
            if read is None or (kind not in read.kinds and self._is_old(read.when)):
                read = self._read[api_version] = await self._ask(api_version)
            return read.kinds.get(kind)

    async def first_served(self, kinds: Sequence[Kind[T]]) -> Kind[T] | None:
        """The first of several versions of a kind that the server has; None when it has none of them."""
        for wanted in kinds:
            if await self.kind(wanted.api_version, wanted.kind) is not None:
                return wanted
        return None

    async def singular_names(self) -> Mapping[str, Kind[PartialObject]]:
        """Every kind that can be read, by its singular lower-case name such as `deployment`.

        Where two groups use one name, the core group has it, then the group that the server lists first.
        """
        async with self._naming:
            if self._names is None:
                self._names = await self._name()
            return self._names.names

    async def singular(self, name: str) -> Kind[PartialObject] | None:
        """The kind of that singular name; asks the server again when it was unknown so far."""
        async with self._naming:
            if self._names is None or (name not in self._names.names and self._is_old(self._names.when)):
                self._names = await self._name()
            return self._names.names.get(name)

    def _is_old(self, when: float) -> bool:
        return time.monotonic() - when >= self._again_after

    async def _ask(self, api_version: str) -> _Read:
        group, _, version = api_version.rpartition("/")
        path = f"/apis/{api_version}" if group else f"/api/{version}"
        try:
            answer = _decode(await self._client.read(path), _ResourceList, path)
        except NotFound:
            answer = _ResourceList()
        kinds: dict[str, Kind[PartialObject]] = {}
        singular: dict[str, Kind[PartialObject]] = {}
        for resource in answer.resources or ():
            # Subresources, and things such as reviews, which are asked for but do not exist.
            if "/" in resource.name or "get" not in resource.verbs:
                continue
            found = Kind(
                group=group,
                version=version,
                kind=resource.kind,
                plural=resource.name,
                namespaced=resource.namespaced,
                type=PartialObject,
            )
            kinds.setdefault(resource.kind, found)
            # Built-in kinds of servers before 1.27 have no singular name.
            singular.setdefault(resource.singular_name or resource.kind.lower(), found)
        return _Read(time.monotonic(), kinds, singular)

    async def _name(self) -> _Names:
        groups = _decode(await self._client.read("/apis"), _GroupList, "/apis").groups or []
        # `extensions` holds old copies of kinds that live elsewhere now.
        groups.sort(key=lambda group: group.name == "extensions")
        preferred = ["v1", *(group.preferred_version.group_version for group in groups)]
        rest = [version.group_version for group in groups for version in group.versions]
        versions = list(dict.fromkeys(preferred + rest))
        async with asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(self._ask_if_it_answers(version)) for version in versions]
        names: dict[str, Kind[PartialObject]] = {}
        for version, read in zip(versions, (task.result() for task in reads), strict=True):
            if read is not None:
                self._read[version] = read
                names = dict(read.singular) | names
        return _Names(time.monotonic(), MappingProxyType(names))

    async def _ask_if_it_answers(self, api_version: str) -> _Read | None:
        try:
            return await self._ask(api_version)
        except KubeError as error:
            if api_version == "v1":
                raise
            # Somebody's extension server is down; that must not hide all other kinds.
            log.warning("a group of the API does not answer", api_version=api_version, error=str(error))
            return None


def _decode(data: bytes, to: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(data, type=to)
    except msgspec.DecodeError as error:
        raise KubeError(f"GET {path}: not the discovery document of a Kubernetes API: {error}") from error
