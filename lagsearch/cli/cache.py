"""`lagsearch cache`: what the cache holds, whether it is whole, and how it is emptied."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from lagsearch.display.console import make_console
from lagsearch.errors import LagsearchError, counted
from lagsearch.storage.cache import (
    KINDS,
    CacheEntry,
    clear,
    entries,
)
from lagsearch.storage.files import cache_root

cache_app = typer.Typer(
    no_args_is_help=True, help="See, check and empty the cache of sources and tokens."
)

_KEPT = 60
"""Characters of what made an entry that a line has room for."""


@cache_app.command("list")
def list_command() -> None:
    """Show what is in the cache: what made it, its size, and when it was last used."""
    from rich.table import Column, Table

    found = entries()
    if found:
        table = Table(Column("entry", no_wrap=True), "made of", "size", "last used")
        for each in found:
            used = each.used_at
            when = f"{used.astimezone():%Y-%m-%d %H:%M}" if used else ""
            row = (origin_in_words(each), size_in_words(each.size), when)
            table.add_row(each.name, *row)
        make_console().print(table)
    size = size_in_words(sum(each.size for each in found))
    _say(f"{counted(len(found), 'entry')}, {size}: {cache_root()}")


@cache_app.command("verify")
def verify_command() -> None:
    """Compare every entry with the hashes that were taken when it was made."""
    found = entries()
    damaged = [(each, why) for each in found if each.is_made and (why := each.damage())]
    for each, why in damaged:
        _say(f"{each.name}: damaged, {why}")
    if damaged:
        raise LagsearchError(
            f"cache: {len(damaged)} of {counted(len(found), 'entry')} damaged; the next run that "
            "needs one makes it anew, and `lagsearch cache clear --damaged` deletes them"
        )
    n_unfinished = sum(not each.is_made for each in found)
    _say(
        f"{counted(len(found), 'entry')}, all whole"
        + (f"; {n_unfinished} unfinished" * bool(n_unfinished))
    )


@cache_app.command("clear")
def clear_command(
    kind: Annotated[
        str | None, typer.Option("--kind", help=f"Only these: {' or '.join(KINDS)}.")
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", min=0, metavar="DAYS", help="Only what was last used before."),
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Only what is damaged.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete entries of the cache; what a run needs is made again. What is in use stays."""
    if kind is not None and kind not in KINDS:
        raise LagsearchError(f"--kind {kind}: write {' or '.join(KINDS)}")
    chosen = [each for each in entries() if _is_meant(each, kind, older_than, damaged)]
    if not chosen:
        _say("Nothing to delete.")
        return
    size = size_in_words(sum(each.size for each in chosen))
    if not yes and not is_agreed(f"Delete {counted(len(chosen), 'entry')}, {size}?", "cache clear"):
        _say("Nothing was deleted.")
        return
    in_use = [each for each in chosen if not clear(each)]
    _say(f"Deleted {len(chosen) - len(in_use)} of {len(chosen)}.")
    for each in in_use:
        _say(f"{each.name}: in use, it stays")


def origin_in_words(entry: CacheEntry) -> str:
    """Say in a few words what made an entry, as its record has it."""
    facts = entry.facts()
    if not facts:
        return "damaged" if entry.is_made else "unfinished"
    words = _tokens(facts) if entry.kind == "tokens" else _source(facts)
    return words if len(words) <= _KEPT else f"{words[: _KEPT - 3]}..."


def _tokens(facts: dict[str, Any]) -> str:
    parts = [facts.get(key) or {} for key in ("corpus", "validation")]
    name = next((each["name"] for each in parts if each.get("name")), "a text")
    return f"{sum(int(each.get('tokens') or 0) for each in parts):,} tokens of {name}"


def _source(facts: dict[str, Any]) -> str:
    if facts.get("kind") != "pretrained":
        return f"checkpoint {facts.get('checkpoint', '')}".rstrip()
    config = (facts.get("made_of") or {}).get("config") or {}
    words = [str(config.get("model_type", "model"))]
    for key, unit in (("num_hidden_layers", "layers"), ("hidden_size", "wide")):
        if key in config:
            words.append(f"{config[key]} {unit}")
    return f"{', '.join(words)}, {facts.get('steps', 0):,} steps"


def _is_meant(entry: CacheEntry, kind: str | None, days: float | None, damaged: bool) -> bool:
    used = entry.used_at
    is_young = days is not None and used and used > datetime.now(UTC) - timedelta(days=days)
    if is_young or kind not in (None, entry.kind):
        return False
    return not damaged or (entry.is_made and entry.damage() is not None)


def is_agreed(question: str, command: str) -> bool:
    """Ask before something is done that cannot be undone.

    Raises:
        LagsearchError: Nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise LagsearchError(f"{command}: nobody is there to be asked; give --yes. {question}")
    return typer.confirm(question)


def size_in_words(n_bytes: int) -> str:
    """Write a number of bytes."""
    size, unit = float(n_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
