"""Which kinds a server has, and where: `apps/v1` and `Deployment` become a `Kind`.

It fetches one group version at a time, in the form that every server since 1.7 understands. A kind that was found is
cached for good; one that was not is looked up again, because a CRD may have been installed meanwhile, but not more
often than once per `refresh_interval`, because any owner reference can name a kind that never existed.
A group whose server is down or hangs costs `GROUP_TIMEOUT` once per interval, and hides no other group.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import msgspec
import structlog

from kubernaut.kube.client import Client
from kubernaut.kube.errors import KubeError, NotFound, TimedOut
from kubernaut.kube.objects import Kind, PartialObjectMetadata
from kubernaut.ops.json_faults import JSON_FAULTS

T = TypeVar("T")
GROUP_TIMEOUT = 2.0  # seconds
"""For the kinds of one group version."""

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
class _GroupVersion:
    fetched_at: float
    kinds: Mapping[str, Kind[PartialObjectMetadata]]
    """By name of the kind."""
    by_singular_name: Mapping[str, Kind[PartialObjectMetadata]]


@dataclass(frozen=True)
class _Failure:
    failed_at: float
    message: str


@dataclass(frozen=True)
class _SingularNames:
    fetched_at: float
    kinds: Mapping[str, tuple[Kind[PartialObjectMetadata], ...]]


class Discovery:
    """The kinds of one server. Raises a `KubeError` only when the server did not answer."""

    def __init__(self, client: Client, refresh_interval: float = 30.0) -> None:
        self._client = client
        self._refresh_interval = refresh_interval
        self._versions: dict[str, _GroupVersion] = {}
        self._failures: dict[str, _Failure] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._singular_names: _SingularNames | None = None
        self._singular_names_lock = asyncio.Lock()

    async def kind(self, api_version: str, kind: str) -> Kind[PartialObjectMetadata] | None:
        """The kind as the server serves it, with its plural and scope; None when it has none of that name."""
        async with self._locks.setdefault(api_version, asyncio.Lock()):
            known = self._versions.get(api_version)
            if known is None or (kind not in known.kinds and self._is_stale(known.fetched_at)):
                failure = self._failures.get(api_version)
                if failure is not None and not self._is_stale(failure.failed_at):
                    raise KubeError(failure.message)
                known = self._versions[api_version] = await self._fetch_in_time(api_version)
            return known.kinds.get(kind)

    async def kinds_called(self, name: str) -> tuple[Kind[PartialObjectMetadata], ...]:
        """The kinds that can be read, by their singular lower-case name such as `deployment`.

        The core group's comes first, then the groups as the server lists them. Fetches once; `keep_fresh` does later.
        """
        async with self._singular_names_lock:
            if self._singular_names is None:
                self._singular_names = await self._fetch_all()
            return self._singular_names.kinds.get(name, ())

    async def kind_by_singular_name(self, name: str) -> Kind[PartialObjectMetadata] | None:
        """The first kind of that singular name; fetches again when it was unknown so far."""
        async with self._singular_names_lock:
            known = self._singular_names
            if known is None or (name not in known.kinds and self._is_stale(known.fetched_at)):
                known = self._singular_names = await self._fetch_all()
            return next(iter(known.kinds.get(name, ())), None)

    async def keep_fresh(self) -> None:
        """Fetch the kinds of all groups once per `refresh_interval`, for ever, so that no caller has to wait for it."""
        while True:
            await asyncio.sleep(self._refresh_interval)
            try:
                self._singular_names = await self._fetch_all()
            except KubeError as error:
                log.warning("API discovery failed", error=str(error))

    def _is_stale(self, fetched_at: float) -> bool:
        return time.monotonic() - fetched_at >= self._refresh_interval

    async def _fetch(self, api_version: str) -> _GroupVersion:
        group, _, version = api_version.rpartition("/")
        path = f"/apis/{api_version}" if group else f"/api/{version}"
        try:
            fetched = _decode(await self._client.get_raw(path), _ResourceList, path)
        except NotFound:
            fetched = _ResourceList()
        kinds: dict[str, Kind[PartialObjectMetadata]] = {}
        by_singular_name: dict[str, Kind[PartialObjectMetadata]] = {}
        for resource in fetched.resources or ():
            # Neither subresources nor virtual resources such as reviews.
            if "/" in resource.name or "get" not in resource.verbs:
                continue
            found = Kind(
                group=group,
                version=version,
                kind=resource.kind,
                plural=resource.name,
                namespaced=resource.namespaced,
                type=PartialObjectMetadata,
            )
            kinds.setdefault(resource.kind, found)
            # Built-in kinds of servers before 1.27 have no singular name.
            by_singular_name.setdefault(resource.singular_name or resource.kind.lower(), found)
        return _GroupVersion(time.monotonic(), kinds, by_singular_name)

    async def _fetch_all(self) -> _SingularNames:
        groups = _decode(await self._client.get_raw("/apis"), _GroupList, "/apis").groups or []
        # `extensions` holds old copies of kinds that live elsewhere now.
        groups.sort(key=lambda group: group.name == "extensions")
        preferred = ["v1", *(group.preferred_version.group_version for group in groups)]
        rest = [version.group_version for group in groups for version in group.versions]
        versions = list(dict.fromkeys(preferred + rest))
        async with asyncio.TaskGroup() as tasks:
            fetches = [tasks.create_task(self._fetch_if_available(version)) for version in versions]
        kinds: dict[str, dict[str, Kind[PartialObjectMetadata]]] = {}
        for version, fetched in zip(versions, (task.result() for task in fetches), strict=True):
            if fetched is not None:
                self._versions[version] = fetched
                for name, kind in fetched.by_singular_name.items():
                    kinds.setdefault(name, {}).setdefault(kind.group, kind)
        # An old copy of a kind is no other kind.
        singular = {
            name: tuple(each for each in by_group.values() if len(by_group) == 1 or each.group != "extensions")
            for name, by_group in kinds.items()
        }
        return _SingularNames(time.monotonic(), MappingProxyType(singular))

    async def _fetch_if_available(self, api_version: str) -> _GroupVersion | None:
        try:
            return await self._fetch_in_time(api_version)
        except KubeError as error:
            if api_version == "v1":
                raise
            # An aggregated API server is down; that must not hide all other kinds.
            log.warning("API group discovery failed", api_version=api_version, error=str(error))
            return self._versions.get(api_version)

    async def _fetch_in_time(self, api_version: str) -> _GroupVersion:
        """Raises a `KubeError`, which is remembered."""
        try:
            async with asyncio.timeout(GROUP_TIMEOUT):
                fetched = await self._fetch(api_version)
        except TimeoutError:
            error: KubeError = TimedOut(f"discovery of {api_version}: no answer within {GROUP_TIMEOUT:g} s")
            self._failures[api_version] = _Failure(time.monotonic(), str(error))
            raise error from None
        except KubeError as error:
            self._failures[api_version] = _Failure(time.monotonic(), str(error))
            raise
        self._failures.pop(api_version, None)
        return fetched


def _decode(data: bytes, to: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(data, type=to)
    except JSON_FAULTS as error:
        raise KubeError(f"GET {path}: not the discovery document of a Kubernetes API: {error}") from error
