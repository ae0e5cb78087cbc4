"""Rules about the images that a suite builds: in which order, and what costs minutes in them."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from pytest_muster.checking.rules import Hit, Rule
from pytest_muster.checking.source import Function, Role, Source, walk
from pytest_muster.checking.text_file import FileKind, TextFile

_BUILDS = re.compile(
    r"^(docker|podman|nerdctl|buildah)( compose| buildx| image)? (build|bud)\b|^docker-compose build\b"
)
_CLUSTERS = re.compile(r"^(kind create cluster|k3d cluster create|minikube start|microk8s start|kind\.exe create)\b")
_WAITING = {"subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output", "os.system"}
_LOOPS = (ast.For, ast.While, ast.ListComp)
_WHOLE = {
    **{name: {"upgrade", "dist-upgrade", "full-upgrade", "safe-upgrade"} for name in ("apt", "apt-get", "aptitude")},
    **{name: {"update", "upgrade", "distro-sync", "upgrade-minimal"} for name in ("dnf", "yum", "microdnf", "tdnf")},
    "apk": {"upgrade"},
    "zypper": {"update", "up", "dist-upgrade", "dup", "patch"},
}
"""Verbs that bring all packages up to date, where no package is named."""


def _command(source: Source, call: ast.Call) -> str:
    """The words of the command that a call runs, as far as they are constant from the first on; empty if it is none."""
    name = source.called(call)
    if not (name in _WAITING or name == "subprocess.Popen" or name.endswith((".start", ".run", "_exec", "_shell"))):
        return ""
    first = call.args[0] if call.args else None
    parts: Sequence[ast.expr] = first.elts if isinstance(first, ast.List | ast.Tuple) else call.args
    words: list[str] = []
    for part in parts:
        text = source.text_of(part)
        if text is None:
            break
        words += text.split()
    return " ".join(word for word in words if not word.startswith("-"))


def _calls(source: Source, function: Function, pattern: re.Pattern[str]) -> list[ast.Call]:
    return [
        node for node in walk(function.node) if isinstance(node, ast.Call) and pattern.search(_command(source, node))
    ]


def _built_late(source: Source) -> Iterator[Hit]:
    for function in source.functions.values():
        builds = _calls(source, function, _BUILDS)
        if not builds:
            continue
        clusters = _calls(source, function, _CLUSTERS)
        for build in builds:
            if any(cluster.lineno < build.lineno for cluster in clusters):
                yield build, "the image is built while the cluster is there already and waits"
        owners = {one.name: owner for owner in (*source.above, source) for one in owner.functions.values()}
        for name in sorted(source.asked_by(function)):
            fixture = source.fixtures.get(name)
            if fixture and fixture.role in {Role.FIXTURE, Role.SHARED} and _calls(owners[name], fixture, _CLUSTERS):
                yield builds[0], f"the image is built when `{name}` has made the cluster, which waits for it"
                break


def _one_after_the_other(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        if source.called(call) in _WAITING and _BUILDS.search(_command(source, call)):
            for around in source.around(call):
                if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                    break
                if isinstance(around, _LOOPS):
                    yield call, "each image waits for the one before"
                    break


def _packages_upgraded(file: TextFile) -> Iterator[Hit]:
    if file.kind is not FileKind.IMAGE:
        return
    for command in file.commands():
        words = [word for word in command if "=" not in word.text and word.text != "sudo"]
        tools = [number for number, word in enumerate(words) if PurePosixPath(word.text).name in (*_WHOLE, "pacman")]
        if not tools:
            continue
        tool, rest = words[tools[0]], words[tools[0] + 1 :]
        name = PurePosixPath(tool.text).name
        plain = [word for word in rest if not word.text.startswith("-")]
        is_whole = bool(plain) and plain[0].text in _WHOLE.get(name, ()) and (len(plain) == 1 or name.startswith("apt"))
        if is_whole or (name == "pacman" and any(re.match(r"-S\w*u", word.text) for word in rest) and not plain):
            last = plain[0] if plain else rest[0]
            end = last.end if last.line == tool.line else tool.end
            yield file.span(tool.line, tool.start, end), f"`{name}` brings every package of the base image up to date"


def _nothing(source: Source) -> Iterator[Hit]:
    yield from ()


RULES = (
    Rule(
        id="M701",
        name="image-built-late",
        title="An image is built when the cluster that is to run it is there already.",
        reason="The cluster costs memory and processors while the build needs them, and some give up while they wait; "
        "built first, the images wait for nobody.",
        remedy="Build the images first, all at once, then make the cluster and load them.",
        bad="import subprocess\n\nimport pytest_muster as muster\n\n\n@muster.shared\ndef cluster():\n"
        '    subprocess.run(["kind", "create", "cluster"], check=True)\n'
        '    subprocess.run(["docker", "build", "-t", "shop", "."], check=True)\n    yield {"image": "shop"}\n'
        '    subprocess.run(["kind", "delete", "cluster"], check=True)\n',
        good="import subprocess\n\nimport pytest_muster as muster\n\n\n@muster.shared\ndef image():\n"
        '    subprocess.run(["docker", "build", "-t", "shop", "."], check=True)\n    return "shop"\n\n\n'
        '@muster.shared\ndef cluster(image):\n    subprocess.run(["kind", "create", "cluster"], check=True)\n'
        '    subprocess.run(["kind", "load", "docker-image", image], check=True)\n    yield {"image": image}\n'
        '    subprocess.run(["kind", "delete", "cluster"], check=True)\n',
        file="conftest.py",
        check=_built_late,
    ),
    Rule(
        id="M702",
        name="images-one-by-one",
        title="Images are built in a loop, each after the one before.",
        reason="A build waits for downloads most of the time, and the set-up is as long as all of them together.",
        remedy="Start all builds (`subprocess.Popen`, an executor), then wait for each and look at its exit code.",
        bad='import subprocess\n\nSERVICES = ("shop", "stock")\n\n\ndef build():\n    for service in SERVICES:\n'
        '        subprocess.run(["docker", "build", "-t", service, service], check=True)\n',
        good='import subprocess\n\nSERVICES = ("shop", "stock")\n\n\ndef build():\n'
        '    builds = [subprocess.Popen(["docker", "build", "-t", service, service]) for service in SERVICES]\n'
        "    assert [one.wait(600) for one in builds] == [0, 0]\n",
        file="conftest.py",
        check=_one_after_the_other,
    ),
    Rule(
        id="M703",
        name="packages-upgraded",
        title="An image brings all packages of its base image up to date.",
        reason="It takes minutes in every build that has no cache, and two builds of one revision differ.",
        remedy="Take a newer base image, pinned by its digest, and install only what is needed.",
        bad="FROM debian:12\nRUN apt-get update && apt-get -y upgrade \\\n    && apt-get install -y python3\n",
        good="FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends python3\n",
        file="Dockerfile",
        check=_nothing,
        check_text=_packages_upgraded,
    ),
)
