"""The machine and the software a number was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from zoo_benchmark.metrics import installed_metrics

_PACKAGES = ("colorizer-zoo", "torch", "torchvision", "timm")


def describe_environment(device: torch.device) -> dict[str, str | int | float | bool]:
    """CPU, memory, threads, GPU, precision flags, versions and git commit, as flat columns."""
    description: dict[str, str | int | float | bool] = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_cores": os.cpu_count() or 0,
        "cpu_cores_usable": usable_cores(),
        "memory_gb": round(memory_gb(), 1),
        "threads": torch.get_num_threads(),
        "threads_between_operations": torch.get_num_interop_threads(),
        "device": str(device),
        "hardware": hardware(device),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolution": torch.backends.cudnn.allow_tf32,
        "git_commit": _git_commit(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        description["gpu"] = properties.name
        description["gpu_memory_gb"] = round(properties.total_memory / 2**30, 1)
        description["gpu_driver"] = _nvidia_driver()
        description["cuda"] = str(torch.version.cuda)
        description["cudnn"] = torch.backends.cudnn.version() or 0  # type: ignore[no-untyped-call]
    of_metrics = (package for info in installed_metrics() for package in info.packages)
    for package in dict.fromkeys([*_PACKAGES, *of_metrics, "numpy"]):
        try:
            description[package.replace("-", "_")] = version(package)
        except PackageNotFoundError:
            description[package.replace("-", "_")] = "not installed"
    return description


def hardware(device: torch.device, threads: int | None = None) -> str:
    """The hardware of a speed in one line: alike only if the lines are equal.

    Args:
        device: a CPU or GPU of this machine.
        threads: how many the CPU may use; torch's own number where None.
    """
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    count = torch.get_num_threads() if threads is None else threads
    where = f"{cpu_model()} ({torch.backends.cpu.get_cpu_capability()})"
    text = f"{where}, {count} thread{'s' * (count != 1)}"
    return text if device.type == "cpu" else f"{device.type} of {text}"


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gb() -> float:
    """The machine's memory in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _nvidia_driver() -> str:
    file = Path("/proc/driver/nvidia/version")
    if not file.is_file():
        return "unknown"
    words = file.read_text(encoding="utf-8", errors="replace").splitlines()[0].split()
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")


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
            encoding="utf-8",
            errors="replace",
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
