"""The real kustomize, for building what is under deploy/kubernetes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.paths import BUILD

# The newest one that the Go of Debian 12 compiles.
MODULE = "sigs.k8s.io/kustomize/kustomize/v5@v5.0.3"
TOOLS = BUILD / "tools"
BUILD_SECONDS = 600


@cache
def command() -> list[str]:
    """kustomize as installed, else compiled once for this tree."""
    found = shutil.which("kustomize")
    return [found] if found else [str(_compiled())]


def _compiled() -> Path:
    program = TOOLS / "kustomize"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            go = shutil.which("go")
            assert go, "neither kustomize nor go is installed: apt-get install golang-go"
            env = {**os.environ, "GOBIN": str(TOOLS), "GOFLAGS": "-trimpath"}
            subprocess.run([go, "install", MODULE], env=env, check=True, timeout=BUILD_SECONDS)
    return program


def build(folder: Path) -> list[dict[str, Any]]:
    """The documents that `kubectl apply -k FOLDER` would send."""
    done = subprocess.run([*command(), "build", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]
