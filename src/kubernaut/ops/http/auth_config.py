"""The section `auth` of a service's configuration."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from kubernaut.ops.http.addresses import is_loopback
from kubernaut.ops.http.authentication import Permission
from kubernaut.ops.http.rate_limit import FailureLimitConfig, RateLimitConfig
from kubernaut.ops.settings import Between, Seconds, SettingsError


class AuthMode(StrEnum):
    """Who may send requests."""

    KUBERNETES = "kubernetes"
    TOKENS = "tokens"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """What an API server is asked about a token: whose it is, and whether they may do `verb` on a resource."""

    audiences: tuple[str, ...] = ()
    """Audiences of which a token must have one; without them, those of the API server."""

    group: str = ""
    """API group of the resource."""

    resource: str = "services"
    """Resource, in the plural, on which a client needs the verbs."""

    name: str = ""
    """Name of the object; empty takes the service's own name, `gateway-service` or `data-storage-service`."""

    namespace: str = ""
    """Namespace of the object; empty takes the pod's own, or that of the kubeconfig."""

    read_verb: str = "get"
    """Verb that a reader needs."""

    write_verb: str = "create"
    """Verb that a writer needs."""

    operate_verb: str = "update"
    """Verb that somebody needs who places or releases legal holds, or erases."""

    timeout: Annotated[Seconds, Between(0.1, 60)] = 3.0
    """Seconds for one review; after it the answer is 503."""

    cache_ttl: Annotated[Seconds, Between(0, 3600)] = 30.0
    """Seconds for which a good review counts; a revoked token is accepted for so long."""

    negative_cache_ttl: Annotated[Seconds, Between(0, 3600)] = 5.0
    """Seconds for which a bad review counts."""

    max_cached: Annotated[int, Between(1, 1_000_000)] = 10_000
    """Reviews that are remembered, of tokens and of permissions each."""


@dataclass(frozen=True, kw_only=True)
class TokenConfig:
    """A static token and whose it is."""

    identity: str
    """Name of the client, such as `alertmanager`."""

    file: Path
    """File with the token; of several lines each is a token, so that a new one can be added before the old one goes.
    Read again when it changes."""

    permissions: tuple[Permission, ...] = (Permission.WRITE,)
    """Any of `read`, `write` and `operate`."""


@dataclass(frozen=True, kw_only=True)
class AuthConfig:
    """Who may send requests. Health and metrics are open in every mode."""

    mode: AuthMode | None = None
    """`kubernetes` checks bearer tokens by TokenReview and SubjectAccessReview, `tokens` by `auth.tokens`; `none` lets
    everybody in, and is allowed and the default only where `server.host` is a loopback address."""

    kubernetes: ReviewConfig = field(default_factory=ReviewConfig)
    tokens: tuple[TokenConfig, ...] = ()
    rate_limit: RateLimitConfig = field(default_factory=RateLimitConfig)
    failure_limit: FailureLimitConfig = field(default_factory=FailureLimitConfig)

    def mode_on(self, host: str) -> AuthMode:
        """The mode of a service that listens on `host`. Raises SettingsError when strangers could get in."""
        if self.tokens and self.mode is not AuthMode.TOKENS:
            mode = self.mode.value if self.mode else "unset"
            raise SettingsError("auth.mode", mode, "auth.tokens are given, which count only with auth.mode: tokens")
        if self.mode is AuthMode.TOKENS and not self.tokens:
            raise SettingsError("auth.tokens", [], "auth.mode: tokens needs at least one identity with its token file")
        if self.mode in (None, AuthMode.NONE) and not is_loopback(host):
            mode = self.mode.value if self.mode else "unset"
            reason = (
                f"server.host {host!r} can be reached from other machines: set auth.mode to kubernetes, or to tokens "
                "with auth.tokens, or set server.host to 127.0.0.1"
            )
            raise SettingsError("auth.mode", mode, reason)
        return self.mode or AuthMode.NONE
