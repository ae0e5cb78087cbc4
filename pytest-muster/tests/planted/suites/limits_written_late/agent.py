import json
import sys
import time
from pathlib import Path

time.sleep(0.5)  # asks headquarters
file = Path(sys.argv[1])
file.with_suffix(".new").write_text(json.dumps({"withdrawal": 250}))
file.with_suffix(".new").rename(file)
time.sleep(60)
