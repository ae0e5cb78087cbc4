"""The business class of a signal: whom it concerns, and how much.

Unit and owner come from labels, each key from the namespace first and then from the workload. Criticality and SLA
follow the environment, unless the namespace states its own: its labels are guarded by the cluster's access control, so
that an operator can make one namespace Critical or Platinum without a policy.
"""

from enum import StrEnum
from typing import TypeVar

from kubernaut.api.signals import BusinessClassification, KubernetesContext
from kubernaut.api.vocabulary import Criticality, Environment, Label, Sla

CRITICALITY = "kubernaut.ai/criticality"
SLA_TIER = "kubernaut.ai/sla-tier"

_BY_ENVIRONMENT = {
    Environment.PRODUCTION: (Criticality.HIGH, Sla.GOLD),
    Environment.STAGING: (Criticality.MEDIUM, Sla.SILVER),
    Environment.DEVELOPMENT: (Criticality.LOW, Sla.BRONZE),
    Environment.TEST: (Criticality.LOW, Sla.BRONZE),
    Environment.UNKNOWN: (Criticality.MEDIUM, Sla.SILVER),
}

E = TypeVar("E", bound=StrEnum)


def classify(
    environment: Environment | None, context: KubernetesContext, policy: BusinessClassification | None = None
) -> BusinessClassification:
    """The business class; it cannot fail. `policy` fills what labels leave open and goes before the table."""
    policy = policy or BusinessClassification()
    namespace = context.namespace.labels if context.namespace else {}
    workload = context.workload.labels if context.workload else {}

    def label(key: str) -> str:
        return namespace.get(key) or workload.get(key) or ""

    # Whoever may label a workload may not raise its rank; a cluster-scoped target has no namespace to ask.
    trusted = namespace if context.namespace else workload
    by_environment = (Criticality.MEDIUM, Sla.BRONZE) if environment is None else _BY_ENVIRONMENT[environment]
    return BusinessClassification(
        business_unit=label(Label.BUSINESS_UNIT) or label(Label.TEAM) or policy.business_unit,
        service_owner=label(Label.SERVICE_OWNER) or policy.service_owner,
        criticality=parse_enum(Criticality, trusted.get(CRITICALITY)) or policy.criticality or by_environment[0],
        sla_requirement=parse_enum(Sla, trusted.get(SLA_TIER)) or policy.sla_requirement or by_environment[1],
    )


def parse_enum(of: type[E], value: object) -> E | None:
    """The member that is spelled so in any case."""
    if not isinstance(value, str):
        return None
    return next((member for member in of if member.lower() == value.strip().lower()), None)
