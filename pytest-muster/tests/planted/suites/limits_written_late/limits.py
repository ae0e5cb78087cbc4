import json
from pathlib import Path

DEFAULTS = {"withdrawal": 100}


def allowed(directory, amount):
    file = Path(directory) / "limits.json"
    limits = json.loads(file.read_text()) if file.exists() else DEFAULTS
    return amount <= limits["withdrawal"]
