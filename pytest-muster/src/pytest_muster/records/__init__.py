"""The record of a run: what is written while it runs, and how it is read afterwards."""
