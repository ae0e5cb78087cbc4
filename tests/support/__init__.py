"""What tests of several packages share: waiting on a state, builders, real services."""
