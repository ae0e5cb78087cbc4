"""Which requests need which permission."""

import pytest

from kubernaut.datastorage.permissions import permission_for
from kubernaut.ops.http.authentication import Permission

READ, WRITE, OPERATE = Permission.READ, Permission.WRITE, Permission.OPERATE


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", "/readyz", None),
        ("GET", "/openapi.yaml", None),
        ("GET", "/", None),
        ("GET", "/ui/static/1/pages.css", None),
        ("GET", "/ui/sign-in", None),
        ("POST", "/ui/sign-in", None),
        ("POST", "/ui/sign-out", None),
        ("GET", "/ui", READ),
        ("GET", "/ui/", READ),
        ("GET", "/ui/sign-in/", READ),
        ("GET", "/ui/holds", READ),
        ("POST", "/ui/holds", OPERATE),
        ("POST", "/ui/holds/release", OPERATE),
        ("POST", "/ui/anything", OPERATE),
        ("POST", "/uix", WRITE),
        ("GET", "/api/v1/audit/events", READ),
        ("POST", "/api/v1/audit/events", WRITE),
        ("POST", "/api/v1/audit/verify-chain", READ),
        ("POST", "/api/v1/audit/legal-hold", OPERATE),
        ("DELETE", "/api/v1/audit/legal-hold/rr-1", OPERATE),
        ("POST", "/api/v1/audit/erasures", OPERATE),
        ("PUT", "/nothing", WRITE),
    ],
)
def test_permission_of_a_request(method, path, permission):
    assert permission_for(method, path) is permission
