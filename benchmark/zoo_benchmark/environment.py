"""The machine and the software a number was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = ("colorizer-zoo", "torch", "torchvision", "timm", "lpips", "scikit-image", "numpy")


def describe_environment(device: torch.device) -> dict[str, str | int]:
    """CPU, threads, GPU, precision flags, versions and git commit, as flat columns."""
    description: dict[str, str | int] = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cpu_cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "git_commit": _git_commit(),
    }
    if device.type == "cuda":
        description["gpu"] = torch.cuda.get_device_name(device)
        description["cuda"] = str(torch.version.cuda)
    for package in _PACKAGES:
        try:
            description[package.replace("-", "_")] = version(package)
        except PackageNotFoundError:
            description[package.replace("-", "_")] = "not installed"
    return description


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_commit() -> str:
    """The commit of the zoo, `-dirty` where files were changed; not that of a project around it."""
    here = Path(__file__)
    if not _git("ls-files", "--error-unmatch", here.name):
        return "unknown"
    return _git("describe", "--always", "--dirty", "--exclude=*") or "unknown"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - git from the user's PATH
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
