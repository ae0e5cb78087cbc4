"""The Secret with the ledger's signing key, as the chart's Job makes it."""

import asyncio
import base64
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from kubernaut.api.ledger import notes
from kubernaut.kube.client import ClientConfig, open_client
from kubernaut.kube.objects import Key, Kind, Unstructured
from support.kinds import NAMESPACE

SECRET = Kind(version="v1", kind="Secret", plural="secrets", type=Unstructured)
KUBERNAUT = Path(sys.executable).with_name("kubernaut")


def new_key(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [KUBERNAUT, "audit", "keys", "new", "obs/kubernaut", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


async def test_a_signing_key_is_made_once(kubernetes):
    async with open_client(ClientConfig(kubeconfig=kubernetes, field_manager="test")) as client:
        namespace = f"keys-{uuid4().hex[:8]}"
        await client.create(NAMESPACE, {"metadata": {"name": namespace}})
        arguments = ("--secret", "keys", "-n", namespace, "--kubeconfig", kubernetes)

        first, second = [await asyncio.to_thread(new_key, *arguments) for _ in range(2)]
        secret = await client.get(SECRET, Key(namespace, "keys"))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    stored = secret.get("stringData", {}).get("keys") or base64.b64decode(secret["data"]["keys"]).decode()
    (signer,) = notes.parse_signers(stored)
    assert first.stdout.strip() == signer.named("obs/kubernaut/0").verifier.vkey
    assert (second.stdout, "Secret keys is there, nothing changed" in second.stderr) == ("", True)


def test_a_key_goes_to_a_file_or_to_a_secret(tmp_path):
    neither, both = new_key(), new_key("--file", tmp_path / "keys", "--secret", "keys")

    assert (neither.returncode, both.returncode) == (2, 2)
    assert "give either --file FILE or --secret NAME" in neither.stderr
    assert not (tmp_path / "keys").exists()
