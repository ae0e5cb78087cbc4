"""What a triage looks like: for a terminal, as Markdown, JSON, and one HTML file."""
