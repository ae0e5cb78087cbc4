"""From an alert to a decision: phases, enrichment, policy, and the trail derived from the status."""
