"""Whose token is this, and who may do what: the reviews that services ask for.

There is one user, who holds the server's tokens and may do everything; nobody else may do anything.
"""

import hmac
from collections.abc import Sequence
from typing import Any

from pocketkube.resources.registry import Object
from pocketkube.status import bad_request

USER = "pocketkube-admin"
GROUPS = ("system:masters", "system:authenticated")

KINDS = {
    ("authentication.k8s.io", "tokenreviews"): "TokenReview",
    ("authorization.k8s.io", "subjectaccessreviews"): "SubjectAccessReview",
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    ("authentication.k8s.io", "selfsubjectreviews"): "SelfSubjectReview",
}


def review_response(kind: str, review: Object, tokens: Sequence[str]) -> Object:
    """Return the review with its answer; raise a 400 for one without a question."""
    status: dict[str, Any]
    if kind == "SelfSubjectReview":
        status = {"userInfo": {"username": USER, "groups": list(GROUPS)}}
        return {"kind": kind, "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "status": status}
    spec = review.get("spec") if isinstance(review, dict) else None
    if not isinstance(spec, dict):
        raise bad_request(f"a {kind} needs a spec")
    if kind == "TokenReview":
        status = _token_status(spec, tokens)
    else:
        status = {"allowed": kind == "SelfSubjectAccessReview" or _is_user(spec)}
        if not status["allowed"]:
            status["reason"] = f"only {USER} may do anything here"
    group = "authentication.k8s.io" if kind == "TokenReview" else "authorization.k8s.io"
    return {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {}, "spec": spec, "status": status}


def _token_status(spec: dict[str, Any], tokens: Sequence[str]) -> dict[str, Any]:
    token = str(spec.get("token", ""))
    if not any(hmac.compare_digest(token.encode(), known.encode()) for known in tokens):
        return {"authenticated": False, "error": "invalid bearer token", "user": {}}
    user = {"username": USER, "groups": list(GROUPS)}
    return {"authenticated": True, "user": user, "audiences": list(spec.get("audiences") or ())}


def _is_user(spec: dict[str, Any]) -> bool:
    return spec.get("user") == USER or "system:masters" in (spec.get("groups") or ())
