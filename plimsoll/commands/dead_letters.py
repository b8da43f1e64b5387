"""`plimsoll dead-letters`: what could not be applied, for a person who has to decide what becomes of it.

Tables, bytes and rows go to standard output, everything said about them to standard error. What a letter means and what
may be done with it is in `engine.dead_letters`; here are flags, questions and tables.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from plimsoll.commands.letter_tables import counted, letters_table, print_all, properties, row, summary_table
from plimsoll.errors import BadSetting, PlimsollError, Reason
from plimsoll.messages import RECORD_SIZE_MAX, DeadLetter
from plimsoll.transport import Kafka

if TYPE_CHECKING:
    from engine.dead_letters import Choice, LogSince, Plan
    from engine.replay import Found, Sent
    from plimsoll.settings import Settings

SENTENCES_MAX = 20
"""Of one kind; what more there would be is counted."""
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

TopicName = Literal["portfolio-updates", "market-data", "market-closes"]

Reasons = Annotated[
    list[Reason] | None,
    typer.Option(metavar="CODE", case_sensitive=False, help="Only these reasons, like KEY_MISMATCH; may be repeated."),
]
Topic = Annotated[TopicName | None, typer.Option(help="Only records of this topic.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION|TIME", help="Only those set aside since: 90s, 15m, 2h, 3d, 1w, or 2026-01-31T12:00 in UTC."
    ),
]
SourceText = Annotated[str, typer.Argument(metavar="SOURCE", help="Where its record stands: topic/partition/offset.")]


def group(told: Callable[[], Settings]) -> typer.Typer:
    """The three commands; `told` reads the settings when one of them runs."""
    commands = typer.Typer(
        name="dead-letters",
        help="""Read the records that could not be applied, and send them back once the cause is mended.

        `list` and `replay` choose by --reason, --topic and --since; `list` shows
        the newest --limit. `show` tells all about one record, and with --raw
        writes its bytes alone. --json is for machines. `replay` says with
        --dry-run what it would do; it asks before it sends (--yes: it does not),
        holds back what would replace something newer (--force: it does not), and
        sends a corrected file with --value.
        """,
        no_args_is_help=True,
        context_settings={"obj": told},
    )
    commands.command("list")(list_letters)
    commands.command("show")(show)
    commands.command("replay")(replay)
    return commands


# --- list -------------------------------------------------------------------------------------------------------------


def list_letters(
    context: typer.Context,
    *,
    reason: Reasons = None,
    topic: Topic = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=0, help="Show the newest so many; 0: all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """List dead letters, the newest last, one for each record that could not be applied."""
    from engine.dead_letters import summary  # noqa: PLC0415

    choice = _choice(reasons=reason, topic=topic, since=since)
    found = _read(context, choice, with_raw=False)
    chosen = found.letters.chosen()
    listed = chosen[-limit:] if limit else chosen
    if as_json:
        for letter in listed:
            print(json.dumps(row(letter), ensure_ascii=False))
    elif listed:
        print_all(letters_table(listed), "", summary_table(summary(chosen)))
    else:
        print(_none(found))
    if as_json and not listed:
        _say(_none(found))
    if len(listed) < len(chosen):
        _say(
            f"these are the newest {len(listed)} of {len(chosen)}: {len(chosen) - len(listed)} were left out (--limit)"
        )
    if repeats := found.letters.repeats(chosen):
        _say(f"{counted(repeats, 'record')} repeated a letter, as a crash may; each is listed once, as last written")
    _say_of_the_topic(found)


def _none(found: Found) -> str:
    others = len(found.letters.by_source)
    if others:
        return f"No dead letter matches; there {'is 1 other' if others == 1 else f'are {others} others'}."
    if found.forgotten:
        return "No dead letters now: those that were are older than what Kafka keeps."
    return "No dead letters: everything that arrived could be applied."


def _say_of_the_topic(found: Found) -> None:
    if unreadable := found.letters.unreadable:
        _say(f"{counted(unreadable, 'record')} of the topic dead-letters could not be read as dead letters")
    if found.forgotten:
        _say(f"Kafka has forgotten the oldest {counted(found.forgotten, 'record')} of the topic dead-letters")


# --- show -------------------------------------------------------------------------------------------------------------


def show(
    context: typer.Context,
    source: SourceText,
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the record's bytes to standard output, and no more.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: the bytes in base64, and as text if they are.")
    ] = False,
) -> None:
    """Show everything about one dead letter, and the record as it arrived."""
    from engine.dead_letters import Source, harmless, hexdump, is_what_arrived, text_of  # noqa: PLC0415

    if raw and as_json:
        raise BadSetting("--raw", "writes nothing but the bytes, so it cannot go together with --json")
    found = _read(context, _choice(sources=[source]))
    letter = _only(found, source)
    text = text_of(letter.raw, truncated=letter.raw_truncated)
    if raw:
        sys.stdout.buffer.write(letter.raw)
        sys.stdout.buffer.flush()
    elif as_json:
        whole = None if letter.raw_truncated else is_what_arrived(letter, letter.raw)
        extra = {"sha256_matches": whole, "raw_text": text, "raw_base64": base64.b64encode(letter.raw).decode()}
        print(json.dumps(row(letter) | extra, ensure_ascii=False))
    else:
        print_all(properties(letter), "")
        print(hexdump(letter.raw) if text is None else harmless(text) or "(no bytes: the value was null or empty)")
    if letter.raw_truncated:
        _say(
            f"these are the first {len(letter.raw):,} of {letter.raw_size:,} bytes; the whole record stood at "
            f"{Source.of(letter)}, and `replay` takes it from there if the log still holds it"
        )


# --- replay -----------------------------------------------------------------------------------------------------------


def replay(
    context: typer.Context,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE", help="Which records: topic/partition/offset.")
    ] = None,
    *,
    reason: Reasons = None,
    topic: Topic = None,
    since: Since = None,
    value: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Send these bytes in place of the one record that is named.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where the log has a newer record of the same portfolio.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal.")] = False,
) -> None:
    """Send records back to where they came from: same topic, partition, key and bytes, at the end of the log.

    Choose records by SOURCE, or by --reason with --topic and --since. What is
    sent carries the header plimsoll-replay-of, by which the next run knows it
    and leaves it out, however this run ends. Two runs at the same moment do not
    know of each other. What is held back is named and makes the exit code 1;
    the others are sent.
    """
    _check_replay(sources or [], reason, topic, since, value)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise BadSetting("--yes", "is needed where there is no terminal to ask on; --dry-run says what would be sent")
    corrected = None if value is None else _corrected(value)
    letters = _to_replay(context, _choice(sources=sources, reasons=reason, topic=topic, since=since))
    if not letters:
        return
    found = _plan(context, letters, corrected, force)
    _tell_plan(found, dry_run)
    if found.send and not dry_run:
        if not yes:
            _ask(f"Send {counted(len(found.send), 'record')} back?")
            # Whoever was asked took time to answer, and the log has gone on.
            planned, found = found, _plan(context, letters, corrected, force)
            _tell_difference(planned, found)
        _tell_sent(_send(context, found))
    if found.held:
        raise typer.Exit(1)


def _check_replay(
    sources: Sequence[str], reason: Sequence[Reason] | None, topic: str | None, since: str | None, value: Path | None
) -> None:
    if not sources and not reason:
        raise BadSetting("replay", "say which records: SOURCE as `list` shows it, or --reason CODE")
    if sources and (reason or topic or since):
        raise BadSetting("replay", "either SOURCE or --reason with --topic and --since: a source is exact by itself")
    if value is not None and len(set(sources)) != 1:
        raise BadSetting("--value", "takes the place of one record: name exactly one SOURCE")


def _corrected(path: Path) -> bytes:
    try:
        corrected = path.read_bytes()
    except OSError as error:
        raise PlimsollError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    if not 0 < len(corrected) <= RECORD_SIZE_MAX:
        raise PlimsollError(f"{path}: {len(corrected):,} bytes; a record has 1 to {RECORD_SIZE_MAX:,}")
    return corrected


def _to_replay(context: typer.Context, choice: Choice) -> list[DeadLetter]:
    found = _read(context, choice)
    missing = choice.sources - found.letters.by_source.keys()
    if missing:
        raise PlimsollError(_missing(min(map(str, missing))))
    _say_of_the_topic(found)
    letters = found.letters.chosen()
    if not letters:
        _say(f"nothing to send. {_none(found)}")
    return letters


def _plan(context: typer.Context, letters: Sequence[DeadLetter], corrected: bytes | None, force: bool) -> Plan:
    from engine.dead_letters import plan  # noqa: PLC0415

    return plan(letters, _since(context, letters), time.time_ns(), corrected=corrected, force=force)


def _since(context: typer.Context, letters: Sequence[DeadLetter]) -> LogSince:
    from engine.replay import look_since, opened  # noqa: PLC0415
    from plimsoll.reports.progress import Progress  # noqa: PLC0415

    with opened(_kafka(context)) as log, Progress("records since") as progress:
        return look_since(log, letters, progress)


def _send(context: typer.Context, found: Plan) -> Sent:
    from engine.kafka_sink import producer  # noqa: PLC0415
    from engine.replay import send  # noqa: PLC0415

    return send(producer(_kafka(context), reports_all=True), found.send)


def _ask(question: str) -> None:
    """Ask on the terminal, and end here unless the answer is yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        _say("nothing was sent")
        raise typer.Exit(1)


def _tell_plan(found: Plan, dry_run: bool) -> None:
    from engine.dead_letters import Source  # noqa: PLC0415

    _say_each([f"{source} is left out: it was replayed as {at}" for source, at in found.done])
    _say_each([f"{source} is held back: {why}" for source, why in found.held])
    _say_each([f"{Source.of(each.letter)} {each.warning}" for each in found.send if each.warning])
    if dry_run:
        for letter, value, _ in found.send:
            size = "a null value" if value is None else counted(len(value), "byte")
            print(f"would send {Source.of(letter)} ({size}) to {letter.topic}/{letter.partition}")
    totals = [f"{len(found.send)} to send", f"{len(found.done)} replayed before", f"{len(found.held)} held back"]
    _say(", ".join(totals) + ("; nothing was sent" if dry_run else ""))


def _tell_difference(planned: Plan, found: Plan) -> None:
    known = {source for source, _ in planned.held} | {source for source, _ in planned.done}
    _say_each([f"{source} is held back now: {why}" for source, why in found.held if source not in known])
    _say_each(
        [f"{source} is left out now: it was replayed as {at}" for source, at in found.done if source not in known]
    )


def _tell_sent(sent: Sent) -> None:
    """What became of them. Raises where not everything arrived."""
    for source, at in sent.delivered:
        print(f"{source} -> {at}")
    _say_each([f"{source} was refused by Kafka: {why}" for source, why in sent.refused])
    if sent.unacknowledged:
        raise PlimsollError(
            f"Kafka fell silent, and {counted(sent.unacknowledged, 'record')} may not have arrived: run the same "
            "command again when it is back; what did arrive is then left out"
        )
    if sent.refused:
        raise typer.Exit(1)


# --- flags ------------------------------------------------------------------------------------------------------------


def _choice(
    *,
    sources: Sequence[str] | None = None,
    reasons: Sequence[Reason] | None = None,
    topic: str | None = None,
    since: str | None = None,
) -> Choice:
    from engine.dead_letters import Choice, Source  # noqa: PLC0415

    try:
        parsed = frozenset(map(Source.parse, sources or ()))
    except ValueError as error:
        raise BadSetting("SOURCE", str(error)) from None
    return Choice(parsed, frozenset(reasons or ()), topic, None if since is None else since_ns(since, time.time_ns()))


def since_ns(text: str, now_ns: int) -> int:
    """A moment in UTC nanoseconds, as a duration before `now_ns` (`90s`, `2h`, `1d12h`) or an ISO 8601 time.

    A time without a zone is UTC. Raises `BadSetting`.
    """
    if re.fullmatch(r"(\d{1,9}[smhdw])+", text):
        parts = re.findall(r"(\d+)([smhdw])", text)
        return now_ns - sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts) * 10**9
    try:
        stated = datetime.fromisoformat(text)
    except ValueError:
        raise BadSetting(
            "--since", f"{text!r} is neither a duration like 2h nor a time like 2026-01-31T12:00"
        ) from None
    moment_ns = int((stated if stated.tzinfo else stated.replace(tzinfo=UTC)).timestamp()) * 10**9
    if moment_ns > now_ns:
        raise BadSetting("--since", f"{text} has not come yet; a time without a zone is UTC")
    return moment_ns


def _kafka(context: typer.Context) -> Kafka:
    told: Callable[[], Settings] = context.obj
    return Kafka.of(told())


def _read(context: typer.Context, choice: Choice, *, with_raw: bool = True) -> Found:
    from engine.replay import opened, read_letters  # noqa: PLC0415
    from plimsoll.reports.progress import Progress  # noqa: PLC0415

    with opened(_kafka(context)) as log, Progress("dead letters") as progress:
        return read_letters(log, choice, progress, with_raw=with_raw)


def _only(found: Found, source: str) -> DeadLetter:
    chosen = found.letters.chosen()
    if not chosen:
        raise PlimsollError(_missing(source))
    return chosen[0]


def _missing(source: str) -> str:
    return f"there is no dead letter of {source}: `plimsoll dead-letters list` shows which there are"


# --- what is said -----------------------------------------------------------------------------------------------------


def _say(sentence: str) -> None:
    from engine.dead_letters import harmless  # noqa: PLC0415

    print(f"plimsoll: {harmless(sentence)}", file=sys.stderr)


def _say_each(sentences: Sequence[str]) -> None:
    for sentence in sentences[:SENTENCES_MAX]:
        _say(sentence)
    if len(sentences) > SENTENCES_MAX:
        _say(f"and {len(sentences) - SENTENCES_MAX} more like this")
