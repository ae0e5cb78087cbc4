"""Field sets of metadata.managedFields."""

from pocketkube.patch import managed_fields


def test_field_sets_keep_members_apart_from_their_parts():
    fields = managed_fields.field_set([("f:spec",), ("f:spec", "f:a"), ("f:b", "f:c")])

    assert fields == {"f:spec": {".": {}, "f:a": {}}, "f:b": {"f:c": {}}}
    assert set(managed_fields.iterate_paths(fields)) == {("f:spec",), ("f:spec", "f:a"), ("f:b", "f:c")}
    assert managed_fields.remove(fields, ("f:spec",))
    assert fields == {"f:spec": {"f:a": {}}, "f:b": {"f:c": {}}}
    assert not managed_fields.remove(fields, ("f:b",))
    assert managed_fields.remove(fields, ("f:b",), below=True)
    assert fields == {"f:spec": {"f:a": {}}}
