"""Images built by buildah from a base image that is on this machine, and their containers run by runc.

runc gives what a Pod's security context asks for: another user, no capability, no new privileges, a read-only root.
The network is the host's, so that a container reaches the services of the other tests.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE_IMAGE = os.environ.get("BASE_IMAGE", "docker.io/library/python:3.11-slim-bookworm")
# Inside a container or a small virtual machine nothing but chroot works, and elsewhere it works too.
ENV = {**os.environ, "BUILDAH_ISOLATION": os.environ.get("BUILDAH_ISOLATION", "chroot"), "ENGINE": "buildah"}
NONROOT = 65532


def skip_without_containers() -> None:
    """Skips where no image can be built or run."""
    for program in ("buildah", "runc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install {program})")
    if os.geteuid() != 0:
        pytest.skip("buildah and runc are run as root here")
    if subprocess.run(["buildah", "images", "--quiet", BASE_IMAGE], capture_output=True, check=False).returncode:
        pytest.skip(f"BASE_IMAGE={BASE_IMAGE} is not in the local store of buildah")


def buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], env=ENV, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def built_image(name: str) -> Iterator[str]:
    """An image as `make image` builds it, under a name of its own; removed at the end, its layers stay cached."""
    registry = f"test.invalid/{uuid4().hex[:8]}"
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "image"), name],
        env={**ENV, "REGISTRY": registry},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tags = done.stdout.split()
    try:
        yield tags[0]
    finally:
        buildah("rmi", *tags)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A root file system of an image, and how its programs are run."""

    root: Path
    bundle: Path
    env: Sequence[str]

    def spec(self, command: Sequence[str], mounts: Mapping[Path, str], env: Mapping[str, str]) -> dict[str, object]:
        """The OCI runtime's configuration."""
        (self.bundle / "config.json").unlink(missing_ok=True)
        subprocess.run(["runc", "spec"], cwd=self.bundle, check=True)
        spec = json.loads((self.bundle / "config.json").read_text())
        spec["process"] |= {
            "terminal": False,
            "args": list(command),
            "user": {"uid": NONROOT, "gid": NONROOT},
            "env": [*self.env, *(f"{name}={value}" for name, value in env.items())],
            "capabilities": {name: [] for name in spec["process"]["capabilities"]},
            "noNewPrivileges": True,
            "cwd": "/",
        }
        spec["root"] = {"path": str(self.root), "readonly": True}
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "network"]
        spec["mounts"] += [
            {"destination": inside, "type": "bind", "source": str(outside), "options": ["bind", "rw"]}
            for outside, inside in mounts.items()
        ]
        return spec  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def running(
        self, command: Sequence[str], mounts: Mapping[Path, str] | None = None, env: Mapping[str, str] | None = None
    ) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """The container's id, and the process whose output is the container's."""
        spec = self.spec(command, mounts or {}, env or {})
        (self.bundle / "config.json").write_text(json.dumps(spec))
        name = f"kubernaut-test-{uuid4().hex[:12]}"
        runc = subprocess.Popen(
            ["runc", "run", "--bundle", str(self.bundle), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield name, runc
        finally:
            if runc.poll() is None:
                subprocess.run(["runc", "kill", name, "KILL"], capture_output=True, check=False)
            runc.communicate(timeout=20)

    def run(self, *command: str, mounts: Mapping[Path, str] | None = None) -> tuple[int, str]:
        """A command in a container of its own; its exit code and what it printed."""
        with self.running(command, mounts) as (_, runc):
            printed, _ = runc.communicate(timeout=60)
            return runc.returncode, printed


@contextlib.contextmanager
def open_container(image: str, bundle: Path) -> Iterator[Container]:
    """The image's file system mounted, and the environment that it sets."""
    config = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    working = buildah("from", "--pull-never", image)
    try:
        yield Container(root=Path(buildah("mount", working)), bundle=bundle, env=config["Env"])
    finally:
        buildah("rm", working)
