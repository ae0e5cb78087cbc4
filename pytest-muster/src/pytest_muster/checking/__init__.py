"""`muster check`: rules for test code that has to run in parallel. Code is read, never imported."""
