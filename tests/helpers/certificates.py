"""Certificates for servers of tests."""

import shutil
import subprocess
from pathlib import Path

import pytest


def self_signed(folder: Path, name: str = "both") -> Path:
    """A certificate for 127.0.0.1 that nobody has signed but itself, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make a certificate")
    file, only = folder / f"{name}.pem", folder / f"{name}-only.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, *names, "-keyout", str(file), "-out", str(only)], check=True, capture_output=True
    )
    file.write_bytes(file.read_bytes() + only.read_bytes())
    return file
