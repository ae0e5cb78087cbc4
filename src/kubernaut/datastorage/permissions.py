"""Which requests need which permission."""

from kubernaut.datastorage.lifecycle_endpoints import ERASURES, HOLDS
from kubernaut.datastorage.web.pages import ROOT
from kubernaut.datastorage.web.rendering import STATIC
from kubernaut.datastorage.web.sign_in import SIGN_IN, SIGN_OUT, is_page
from kubernaut.ops.health import PUBLIC_PATHS
from kubernaut.ops.http.authentication import Permission

VERIFY = "/api/v1/audit/verify-chain"
OPENAPI = "/openapi.yaml"


def permission_for(method: str, path: str) -> Permission | None:
    """The permission for a request; None for health, metrics, the contract, the way to the pages and their style."""
    if path in PUBLIC_PATHS or path in (OPENAPI, ROOT, SIGN_IN, SIGN_OUT) or path.startswith(f"{STATIC}/"):
        return None
    if method in ("GET", "HEAD", "OPTIONS") or path == VERIFY:
        return Permission.READ
    if path in (ERASURES, HOLDS) or path.startswith(f"{HOLDS}/") or is_page(path):
        return Permission.OPERATE
    return Permission.WRITE
