"""Self-signed certificates for servers on 127.0.0.1."""

import subprocess
from pathlib import Path


def write_certificate(cert_file: Path, key_file: Path, name: str) -> None:
    """A new key and certificate, valid for a day."""
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-out", str(cert_file), "-keyout", str(key_file)]
    subprocess.run(["openssl", "req", "-x509", "-days", "1", *key, *subject, *files], check=True, capture_output=True)
