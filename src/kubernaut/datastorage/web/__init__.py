"""The audit log as pages for people, rendered by the server; no page needs a script to be read."""
