"""Kubernaut SignalProcessing: alerts enriched, ranked by policy, and recorded so that it can be proven."""
