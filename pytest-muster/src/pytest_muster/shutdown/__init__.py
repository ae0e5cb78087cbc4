"""Ends a run in order, whatever ends it: first the workers, then the shared resources, then the record.

A run ends by itself, or because of `-x`, `--maxfail`, Ctrl-C, SIGTERM, SIGHUP, `--muster-deadline`, or a shared set-up
that failed. Workers are asked to stop after the test that they run; after a grace period they are interrupted in it,
which still tears their fixtures down, and then killed. A second signal shortens the grace period. Shared resources are
torn down when the last worker is gone; a signal that arrives then is reported, not obeyed.
"""
