import shutil
import time
import zipfile
from pathlib import Path

BUILD = Path("build")


class PackError(Exception):
    pass


def pack(names, target):
    try:
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir(exist_ok=True)
        for name in names:
            (BUILD / name).write_text(name)
            time.sleep(0.03)
        with zipfile.ZipFile(target, "w") as archive:
            for name in names:
                archive.write(BUILD / name, name)
            return archive.namelist()
    except Exception:
        raise PackError(f"{target.name}: not packed") from None
