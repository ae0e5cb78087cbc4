"""What one version of a custom resource adds to the general rules of objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pocketkube.schema.cel import RuleTree, has_rules
from pocketkube.schema.structural import Node, compile_schema


@dataclass(frozen=True, kw_only=True, eq=False)
class CustomVersion:
    """Schema, printer columns and scale of one version; the schema is compiled when first used."""

    schema: Mapping[str, Any]
    columns: tuple[Mapping[str, Any], ...] = ()
    scale: Mapping[str, Any] | None = None

    @cached_property
    def node(self) -> Node:
        """The schema as a tree."""
        return compile_schema(self.schema)

    @cached_property
    def rules(self) -> RuleTree | None:
        """The CEL rules, if there are any."""
        return RuleTree(self.node) if has_rules(self.node) else None
