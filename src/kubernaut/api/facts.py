"""What a decision was made from, as the audit log keeps it: enough to make the same decision again, years later.

`event_data.facts` of `signalprocessing.classification.decision` holds it. It is kept apart from any policy, so that the
policy of then explains the decision from it, and another policy may be tried on it.
"""

from kubernaut.api.meta import Wire
from kubernaut.api.signals import FallbackEnvironment, KubernetesContext

MAX_BYTES = 64 * 1024
"""Bytes of all facts as JSON; what is left out to stay below is named in `omitted`."""


class SignalFacts(Wire, frozen=True):
    """What a policy sees of the alert."""

    name: str
    severity: str
    type: str = ""
    source: str = ""
    labels: dict[str, str] = {}


class DecisionFacts(Wire, frozen=True):
    """All that a policy was given for one decision."""

    signal: SignalFacts
    fallback_environment: FallbackEnvironment
    kubernetes_context: KubernetesContext = KubernetesContext()
    omitted: list[str] = []
    """Paths such as `signal.labels` whose values were left out because they were too large."""
