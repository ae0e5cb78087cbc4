"""Reviews: whose token this is, and what its owner may do."""

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
SELF = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
SUBJECTS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
WISH = {"verb": "create", "resource": "pods", "namespace": "default"}


def test_token_is_reviewed(api, server):
    known = api.post(TOKENS, {"spec": {"token": server.token}})
    unknown = api.post(TOKENS, {"spec": {"token": "wrong"}})

    assert known.status_code == 201
    assert known.json()["status"]["authenticated"] is True
    assert "system:masters" in known.json()["status"]["user"]["groups"]
    assert unknown.json()["status"].get("authenticated", False) is False


def test_access_is_reviewed(api):
    mine = api.post(SELF, {"spec": {"resourceAttributes": WISH}})
    stranger = api.post(SUBJECTS, {"spec": {"user": "stranger", "resourceAttributes": WISH}})
    admin = api.post(SUBJECTS, {"spec": {"user": "x", "groups": ["system:masters"], "resourceAttributes": WISH}})

    assert mine.json()["status"]["allowed"] is True
    assert stranger.json()["status"]["allowed"] is False
    assert admin.json()["status"]["allowed"] is True
