"""What this machine says: versions, limits, ports, and the recovery directory of workers that run here."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import confluent_kafka

from api.pages import dashboard_html
from engine.dealing import worker_name
from engine.manifest import Keeper
from engine.same_log import Log
from plimsoll import __version__
from plimsoll.errors import PlimsollError
from plimsoll.settings import Settings

_WORKER_FOLDER = re.compile(r"worker-(\d+)-of-(\d+)")


@dataclass(frozen=True, slots=True)
class MachineReading:
    """This machine. `descriptors` is how many files a process may have open."""

    versions: dict[str, str | None]
    """None: not installed."""
    descriptors: int
    has_pages: bool
    taken: list[int]
    """Of the ports that were asked about, those that somebody listens on."""


@dataclass(frozen=True, slots=True)
class RecoveryReading:
    """A recovery directory: of how many workers it holds the state, and why a state may not be continued."""

    directory: Path
    exists: bool
    is_writable: bool
    """Where it does not exist: whether it can be made."""
    free_bytes: int
    size_bytes: int
    crews: list[int]
    unusable: dict[str, PlimsollError]
    """By folder."""


def read(settings: Settings, ports: Sequence[int]) -> MachineReading:
    """The machine, and which of these ports are taken at the address where workers serve their health."""
    versions = {"Python": platform.python_version(), "plimsoll": __version__, "bytewax": _version("bytewax")}
    return MachineReading(
        versions={**versions, "librdkafka": str(confluent_kafka.libversion()[0]), "redis-py": _version("redis")},
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        has_pages=dashboard_html() is not None,
        taken=[port for port in ports if not _is_free(settings.health_host, port)],
    )


def read_recovery(directory: Path, log: Log | None) -> RecoveryReading:
    """The recovery directory, held against the log that Kafka has now; None where that is not known."""
    exists = directory.is_dir()
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    folders = {path: found for path in _listed(directory) if (found := _WORKER_FOLDER.fullmatch(path.name))}
    unusable: dict[str, PlimsollError] = {}
    for path, found in folders.items():
        try:
            Keeper(path, worker_name(int(found[1]), int(found[2]))).judge(log)
        except PlimsollError as error:
            unusable[path.name] = error
    return RecoveryReading(
        directory=directory,
        exists=exists,
        is_writable=there.is_dir() and all(os.access(path, os.W_OK | os.X_OK) for path in (there, *folders)),
        free_bytes=shutil.disk_usage(there).free,
        size_bytes=sum(part.stat().st_size for path in folders for part in path.glob("part-*")),
        crews=sorted({int(found[2]) for found in folders.values()}),
        unusable=unusable,
    )


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except OSError:
        return []


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As a server will: a port on which old connections are still dying is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
