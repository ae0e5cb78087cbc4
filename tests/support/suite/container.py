"""DataStorage in a container of the image that `make image` has built: by docker, podman, or buildah and runc.

`DATASTORAGE` says `auto` (the default), `container` or `process`; `ENGINE` and `REGISTRY` are those of `make image`.
`auto` is a container where an engine works and has an image of exactly these sources, and a process elsewhere: an image
of other sources would let the specs judge a DataStorage that is not the one of this checkout.

As a program it is what a container is started and removed by:

    container.py run runc BUNDLE NAME         # or: run docker ARGUMENT …
    container.py remove ENGINE NAME           # twice does not harm
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
NAME = "signalprocessing_datastorage_test"
"""What the name of the container begins with; the run's own part follows, since two runs may be on one machine."""
MARKS = ("MUSTER_LEASE", "MUSTER_RUN")
"""By these variables muster finds the processes of a container whose client was killed."""
NONROOT = 65532
COMMAND_TIMEOUT = 60.0  # seconds for one command of an engine
_ENGINES = {"docker": ("docker",), "podman": ("podman",), "buildah": ("buildah", "runc")}


class NoContainerError(Exception):
    """DataStorage cannot run in a container here; the message says why."""


@dataclass(frozen=True)
class Image:
    """An image of DataStorage, and the engine that has it."""

    engine: str
    name: str

    def start(self, name: str, folder: Path, config: Path) -> list[str]:
        """The command that starts its container in the foreground, where the folder has the same path as here.

        The network is the host's, the root read-only, the user never root, and there is no capability.
        """
        if self.engine == "buildah":
            return _program("run", "runc", str(self._bundle(name, folder, config)), name)
        arguments = ["run", "--rm", "--pull=never", f"--name={name}", "--network=host", f"--volume={folder}:{folder}"]
        arguments += ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        arguments += [f"--env={mark}" for mark in MARKS]
        if os.geteuid() != 0:
            arguments.append(f"--user={os.getuid()}:{os.getgid()}")
            arguments += ["--userns=keep-id"] if self.engine == "podman" else []
        return _program("run", self.engine, *arguments, self.name, "--config", str(config))

    def _bundle(self, name: str, folder: Path, config: Path) -> Path:
        """The directory from which runc starts the image's entry point."""
        described = json.loads(_output("buildah", "inspect", "--type", "image", self.name))["Docker"]["config"]
        _output("buildah", "from", "--pull-never", "--name", name, self.name)
        root = _output("buildah", "mount", name)
        bundle = folder / "bundle"
        bundle.mkdir()
        _output("runc", "spec", "--bundle", str(bundle))
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"] |= {
            "terminal": False,
            "args": [*described["Entrypoint"], "--config", str(config)],
            "user": {"uid": NONROOT, "gid": NONROOT},
            "env": described["Env"],
            "capabilities": {kind: [] for kind in spec["process"]["capabilities"]},
            "noNewPrivileges": True,
        }
        spec["root"] = {"path": root, "readonly": True}
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "network"]
        at = {"destination": str(folder), "type": "bind", "source": str(folder), "options": ["bind", "rw"]}
        # In this order: the folder may be below the other.
        spec["mounts"] += [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]}, at]
        (bundle / "config.json").write_text(json.dumps(spec))
        return bundle

    def removal(self, name: str) -> list[str]:
        """The command that removes the container in whatever state it is, if it is there."""
        return _program("remove", self.engine, name)


def choose(env: Mapping[str, str], root: Path = ROOT) -> tuple[Image | None, str]:
    """The image to run, None for a process, and the reason. Raises NoContainerError where one was asked for."""
    wanted = env.get("DATASTORAGE") or "auto"
    if wanted not in {"auto", "container", "process"}:
        raise NoContainerError(f"DATASTORAGE={wanted}: it is auto, container or process")
    if wanted == "process":
        return None, "DATASTORAGE=process"
    try:
        image = find(env, root)
    except NoContainerError as error:
        if wanted == "container":
            raise NoContainerError(f"DATASTORAGE=container: {error}") from None
        return None, str(error)
    return image, f"{image.name} by {image.engine}"


def find(env: Mapping[str, str], root: Path = ROOT) -> Image:
    """The image of this checkout's sources. Raises NoContainerError."""
    if sys.platform != "linux":
        raise NoContainerError("a container has this machine's network on Linux only")
    script = _script(root)
    name = f"{env.get('REGISTRY', 'localhost')}/kubernaut-datastorage:e2e-test"
    sources = script.sources(root)
    reasons = []
    for engine in [env["ENGINE"]] if env.get("ENGINE") else _ENGINES:
        if reason := _reason_against(engine, env):
            reasons.append(reason)
            continue
        labels = _labels(engine, name)
        if labels is None:
            reasons.append(f"{engine} has no {name}: run `make image`")
        elif labels.get(script.SOURCES_LABEL) != sources:
            reasons.append(f"{name} of {engine} was built from other sources: run `make image`")
        else:
            return Image(engine=engine, name=name)
    raise NoContainerError("; ".join(reasons))


def give(folder: Path) -> None:
    """Let the user of the container read and write a folder; if that is not root, it is who starts it."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NONROOT, NONROOT)


def remove(engine: str, name: str) -> None:
    """Remove a container in whatever state it is. Raises `CalledProcessError`."""
    if engine == "buildah":
        _output("runc", "delete", "--force", name)
        names = json.loads(_output("buildah", "containers", "--json") or "null") or []
        if name in [each["containername"] for each in names]:
            _output("buildah", "rm", name)
    elif _output(engine, "ps", "--all", "--quiet", f"--filter=name=^{name}$"):
        _output(engine, "rm", "--force", name)


def _reason_against(engine: str, env: Mapping[str, str]) -> str:
    """Why an engine does not run containers here; empty if it does."""
    if engine not in _ENGINES:
        return f"ENGINE={engine}: it is one of {', '.join(_ENGINES)}"
    for program in _ENGINES[engine]:
        if shutil.which(program, path=env.get("PATH")) is None:
            return f"{program} is not installed"
    if engine == "buildah":
        return "" if os.geteuid() == 0 else "buildah and runc need root"
    works = subprocess.run([engine, "info"], capture_output=True, timeout=COMMAND_TIMEOUT, check=False).returncode == 0
    return "" if works else f"`{engine} info` fails"


def _labels(engine: str, image: str) -> dict[str, str] | None:
    """The labels of an image of the local store; None if it is not there."""
    inspect = {
        "docker": ("docker", "image", "inspect"),
        "podman": ("podman", "image", "inspect"),
        "buildah": ("buildah", "inspect", "--type", "image"),
    }[engine]
    done = subprocess.run([*inspect, image], capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)
    if done.returncode:
        return None
    told: Any = json.loads(done.stdout)
    config = told["Docker"]["config"] if engine == "buildah" else told[0]["Config"]
    return config.get("Labels") or {}


def _script(root: Path) -> ModuleType:
    """What builds the images, as a module."""
    loader = SourceFileLoader("scripts_image", str(root / "scripts" / "image"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    exec(loader.source_to_code(loader.get_data(loader.path), loader.path), module.__dict__)  # noqa: S102
    return module


def _program(*arguments: str) -> list[str]:
    return [sys.executable, __file__, *arguments]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout.strip()


def _run(engine: str, *arguments: str) -> None:
    """Become the client of the container, which gets the marks of this process."""
    if engine == "runc":
        bundle, name = arguments
        file = Path(bundle, "config.json")
        spec = json.loads(file.read_text())
        spec["process"]["env"] += [f"{mark}={os.environ[mark]}" for mark in MARKS if mark in os.environ]
        file.write_text(json.dumps(spec))
        arguments = ("run", "--bundle", bundle, name)
    os.execvp(engine, [engine, *arguments])  # noqa: S606


def main(words: Sequence[str]) -> None:
    verb, engine, *arguments = words
    if verb == "run":
        _run(engine, *arguments)
    try:
        remove(engine, *arguments)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stderr}")


if __name__ == "__main__":
    main(sys.argv[1:])
