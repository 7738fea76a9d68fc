"""The space file as text, every value with the reason for it."""

from collections.abc import Iterable
from typing import Any

from lagsearch.display.watch import clock
from lagsearch.init.growths import Listed
from lagsearch.space import MODELINE, SCHEMA_FILE, dump_flow


def space_text(
    head: Iterable[str], parts: dict[str, Any], notes: dict[str, str], listed: Iterable[Listed]
) -> str:
    """Return a commented space file, which names the schema beside it.

    Args:
        head: Lines of comment above all.
        parts: The space as plain values, in the order of the file, without its candidates.
        notes: What stands behind a value, by its path: `training.steps`.
        listed: The candidates, those that cannot be with the reason.
    """
    lines = [MODELINE + SCHEMA_FILE, *(f"# {_one_line(line)}".rstrip() for line in head)]
    for key, value in parts.items():
        if isinstance(value, dict) and key not in ("target", "objective", "evaluation"):
            lines.append(f"{key}:")
            inner = value.items()
            lines += [
                f"  {each}: {dump_flow(it)}{_note(notes, f'{key}.{each}')}" for each, it in inner
            ]
        elif isinstance(value, list):
            lines += [f"{key}:", *(f"  - {dump_flow(each)}" for each in value)]
        else:
            lines.append(f"{key}: {dump_flow(value)}{_note(notes, key)}")
        if key == "target":
            lines += _candidates(listed)
    return "\n".join(lines) + "\n"


def _candidates(listed: Iterable[Listed]) -> list[str]:
    can, cannot = ["candidates:"], []
    for each in listed:
        if each.reason is None:
            can.append(f"  - {dump_flow(each.entry)}  # {_one_line(each.summary)}")
        else:
            cannot.append(f"  # - {dump_flow(each.entry)}  # left out: {_one_line(each.reason)}")
    return can + cannot


def _note(notes: dict[str, str], key: str) -> str:
    return f"  # {_one_line(notes[key])}" if notes.get(key) else ""


def _one_line(text: str) -> str:
    """Return text as a comment can hold it: in one line, without control characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def about(seconds: float) -> str:
    """Write an estimated duration in words, to two digits at most."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} seconds"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {clock(round(seconds / 60) * 60).removesuffix(':00')} hours"
