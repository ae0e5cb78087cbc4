"""The planted suites are projects of their own: they run in copies, never among our tests."""

collect_ignore = ["suites"]
