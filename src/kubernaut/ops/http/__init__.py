"""The HTTP edge that every service shares: listening, limits, bodies, problem responses and the access log."""
