"""What several test rooms share: waiting on a state, builders, real services."""
