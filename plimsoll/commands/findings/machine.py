"""This machine judged: what is installed, what a process may do, and the recovery directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.manifest import FREE_BYTES_LEAST
from plimsoll.commands.findings import Finding, fault, warning, well
from plimsoll.commands.soundings.crew import Crew
from plimsoll.commands.soundings.machine import MachineReading, RecoveryReading
from plimsoll.errors import BadSetting
from plimsoll.settings import Settings

FREE_BYTES_ENOUGH = 1 << 30
DESCRIPTORS_BESIDE = 256
"""Files that a process has open besides its sockets."""
_MIB = 1 << 20


def judge_settings(refused: Sequence[BadSetting]) -> Iterator[Finding]:
    """Whether every setting could be read. The other findings are of the settings without those that could not."""
    for error in refused:
        remedy = f"correct {error.key}, in the environment or in `.env`: every program stops at its start until then"
        yield fault(f"setting {error.key}", error.detail, remedy)
    if not refused:
        yield well("settings", "all can be read")


def judge_machine(machine: MachineReading, settings: Settings) -> Iterator[Finding]:
    """Versions, limits and pages."""
    said = ", ".join(f"{name} {version}" for name, version in machine.versions.items() if version)
    if missing := [name for name, version in machine.versions.items() if version is None]:
        yield fault("versions", f"{' and '.join(missing)} not installed ({said})", "`uv sync`")
    else:
        yield well("versions", said)
    wanted = settings.sockets + DESCRIPTORS_BESIDE
    if machine.descriptors < wanted:
        yield warning(
            "open files",
            f"a process may have {machine.descriptors:,} open, and an API that serves {settings.sockets:,} sockets "
            f"needs {wanted:,}",
            f"`ulimit -n {wanted}` before `uv run risk-api`, or "
            f"`export PLIMSOLL_SOCKETS={max(1, machine.descriptors - DESCRIPTORS_BESIDE)}`",
        )
    else:
        yield well("open files", f"a process may have {machine.descriptors:,}")
    if machine.has_pages:
        yield well("web pages", "built")
    else:
        yield warning("web pages", "not built: the API has no dashboard and no GraphiQL", "`uv sync --reinstall`")


def judge_ports(machine: MachineReading, asked: Sequence[int], crew: Crew | None, settings: Settings) -> Finding:
    """Whether workers find their health ports free, or have them already."""
    check = "health ports"
    if not asked:
        return well(check, "none, as PLIMSOLL_HEALTH_PORT says")
    served = [beat.health for beat in crew.beats if beat.health] if crew else []
    ours = {int(address.rpartition(":")[2]) for address in served}
    foreign = [port for port in machine.taken if port not in ours]
    if foreign:
        return warning(
            check,
            f"{', '.join(map(str, foreign))} taken by another program",
            f"`export PLIMSOLL_HEALTH_PORT={settings.health_port + 100}`, or 0 for none; an engine that runs here with "
            "another Redis may have it by right",
        )
    return well(check, f"{asked[0]} to {asked[-1]}" if len(asked) > 1 else str(asked[0]))


def judge_recovery(recovery: RecoveryReading, crew: Crew | None) -> Iterator[Finding]:
    """Whether workers could go on from this directory."""
    check, where = "recovery directory", str(recovery.directory)
    if not recovery.is_writable:
        yield fault(check, f"{where} cannot be written to by this user", f"`sudo chown --recursive $USER {where}`")
        return
    if not recovery.exists:
        remedy = "correct the path; the engine makes a new one, and reads the log from its beginning"
        yield warning(check, f"{where} does not exist", remedy)
        return
    yield _space(recovery)
    for folder, error in recovery.unusable.items():
        workers = folder.rpartition("-")[2]
        yield fault(
            f"recovery {folder}",
            str(error),
            f"`uv run risk-calculator --workers {workers} --recovery-directory {where} --rebuild`, once",
        )
    running = crew.workers if crew else 0
    if recovery.crews and running and running not in recovery.crews:
        numbers = " and ".join(map(str, recovery.crews))
        yield warning(
            check,
            f"its state is of --workers {numbers}, and {running} run: these read the log from its beginning",
            f"`uv run risk-calculator --workers {recovery.crews[0]} --recovery-directory {where}` goes on from it",
        )
    elif not recovery.unusable:
        yield well(check, f"{where} holds a state that may be continued" if recovery.crews else f"{where} is empty")


def _space(recovery: RecoveryReading) -> Finding:
    check, remedy = "recovery space", f"make room on the disk of {recovery.directory}, or choose another directory"
    said = f"{recovery.free_bytes // _MIB:,} MiB free, {recovery.size_bytes / _MIB:,.1f} MiB of state"
    if recovery.free_bytes < max(FREE_BYTES_LEAST, 2 * recovery.size_bytes):
        return fault(check, f"{said}: it is saved anew beside the old one, and does not fit", remedy)
    return warning(check, said, remedy) if recovery.free_bytes < FREE_BYTES_ENOUGH else well(check, said)
