"""`plimsoll doctor`: everything that could be wrong, checked at once, each fault with what mends it.

Readings come from `soundings`, judgements from `findings`; here are flags, the order of things, and the print.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plimsoll import settings as settings_module
from plimsoll.errors import BadSetting, PlimsollError

if TYPE_CHECKING:
    from plimsoll.commands.findings import Finding
    from plimsoll.settings import Settings

Told = tuple["Settings", list[BadSetting]]
"""The settings, and those that could not be read and are left out of them."""
ApiUrl = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", help="Ask the API there too, such as http://127.0.0.1:6066."),
]
_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def command(told: Callable[[], Told]) -> Callable[..., None]:
    """The command; `told` reads the settings, as far as they can be read, when it runs."""

    def doctor(
        *,
        api: ApiUrl = None,
        recovery_directory: Annotated[
            Path | None,
            typer.Option("--recovery-directory", "-r", metavar="DIR", help="Check the engine's recovery state too."),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    ) -> None:
        """Check everything that Plimsoll needs, and say of each fault what mends it.

        Looks at settings, Kafka, topics, Redis, the engine's workers, versions,
        ports and limits. What is away keeps nothing else from being checked, and
        what hangs is not waited for: 15 seconds at most. Changes nothing.

        Exits with 0 where no fault was found, warnings or not, else with 1.
        """
        from plimsoll.commands.findings import Verdict  # noqa: PLC0415

        settings, refused = told()
        findings = list(examine(settings, refused, api, recovery_directory))
        if as_json:
            typer.echo(json.dumps(_described(findings), indent=2, ensure_ascii=False))
        else:
            _show(findings)
        if any(finding.verdict is Verdict.FAULT for finding in findings):
            raise typer.Exit(1)

    return doctor


def readable(environ: Mapping[str, str], dotenv: Path | None) -> Told:
    """The settings without those that cannot be read, which are returned beside them."""
    refused, left_out = list[BadSetting](), set[str]()
    while True:
        try:
            return settings_module.load(environ, dotenv, left_out), refused
        except BadSetting as error:
            if error.key not in left_out:
                refused.append(error)
                left_out.add(error.key)
            else:
                # Another setting asks for it, or holds it in a file: so all that are named like it.
                kind = error.key.rpartition("_")[0]
                known = [*settings_module.secret_files(), *(each.key for each in settings_module.documented())]
                left_out.update(key for key in known if key.startswith(kind))


def examine(
    settings: Settings, refused: Sequence[BadSetting], api: str | None, recovery_directory: Path | None
) -> Iterator[Finding]:
    """Every finding, in the order in which one thing needs another. Raises `BadSetting` for an address that is none."""
    from plimsoll.commands.findings import machine as judging  # noqa: PLC0415
    from plimsoll.commands.findings.system import judge  # noqa: PLC0415
    from plimsoll.commands.soundings import machine, ports, system  # noqa: PLC0415

    url = None if api is None else ports.require_url("--api", api)
    yield from judging.judge_settings(refused)
    found = system.sound(settings, url, thoroughly=True)
    workers = found.crew.workers if found.crew and found.crew.workers else 1
    asked = range(settings.health_port, settings.health_port + workers) if settings.health_port else range(0)
    here = machine.read(settings, asked)
    yield from judging.judge_machine(here, settings)
    yield judging.judge_ports(here, asked, found.crew, settings)
    yield from judge(found, settings)
    if recovery_directory is not None:
        log = None if isinstance(found.kafka, PlimsollError) else found.kafka.log
        yield from judging.judge_recovery(machine.read_recovery(recovery_directory, log), found.crew)


def _described(findings: Sequence[Finding]) -> dict[str, object]:
    counts = {f"{verdict}s": sum(each.verdict == verdict for each in findings) for verdict in ("fault", "warning")}
    return {**counts, "findings": [asdict(finding) for finding in findings]}


def _show(findings: Sequence[Finding]) -> None:
    """One line for each, and its remedy below it whole, so that it can be copied however narrow the terminal is."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from engine.dead_letters import harmless  # noqa: PLC0415

    console = Console()
    width = max(len(finding.check) for finding in findings)
    for each in findings:
        line = Text.assemble(
            (f"{each.verdict:<8}", _STYLES[each.verdict]), f"{each.check:<{width}}  {harmless(each.found)}"
        )
        console.print(line, soft_wrap=True)
        if each.remedy:
            console.print(Text.assemble(" " * 8, ("-> ", "bold"), harmless(each.remedy)), soft_wrap=True)
    counts = [sum(each.verdict == verdict for each in findings) for verdict in ("ok", "warning", "fault")]
    console.print("\n{} checks: {} ok, {} warnings, {} faults".format(len(findings), *counts), highlight=False)
