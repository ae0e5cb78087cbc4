"""The Authenticator that a service's configuration asks for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from kubernaut.ops.http.auth_config import AuthConfig, AuthMode
from kubernaut.ops.http.authentication import Authenticator
from kubernaut.ops.http.token_files import TokenFiles


@asynccontextmanager
async def open_authenticator(
    config: AuthConfig, host: str, service_name: str, kubeconfig: Path | None
) -> AsyncIterator[Authenticator | None]:
    """Checks the tokens of a service that listens on `host`; None where everybody may do everything.

    Raises SettingsError when strangers could get in, or a token file cannot be used.
    """
    match config.mode_on(host):
        case AuthMode.NONE:
            yield None
        case AuthMode.TOKENS:
            yield TokenFiles(config.tokens)
        case AuthMode.KUBERNETES:
            # Lazy import: DataStorage can be installed without the client of Kubernetes.
            from kubernaut.kube.reviews import open_reviews

            review = replace(config.kubernetes, name=config.kubernetes.name or service_name)
            async with open_reviews(review, kubeconfig, field_manager=f"kubernaut-{service_name}") as reviews:
                yield reviews
