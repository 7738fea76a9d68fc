"""Commands of a trainer of the user's own: words with placeholders, and the rules for them."""

import re
import shlex
from collections.abc import Iterator, Mapping
from string import Formatter

from lagsearch.errors import did_you_mean
from lagsearch.space.schema import EvaluationSettings, Space, Trainer

Broken = tuple[tuple[str | int, ...], str]

_GIVEN = ("checkpoint", "out", "steps", "total_steps", "seed", "name", "python")
_KNOWN: dict[tuple[str, ...], tuple[str, ...]] = {
    ("command",): _GIVEN,
    ("resume",): (*_GIVEN, "last", "step"),
    ("checkpoints", "path"): ("out", "step"),
    ("checkpoints", "export"): ("path", "hf", "checkpoint", "step", "python"),
    ("losses", "path"): ("out",),
}
"""The placeholders of each key."""

_NEEDED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("command",): ("checkpoint", "out"),
    ("resume",): ("last", "out"),
    ("checkpoints", "export"): ("path", "hf"),
}
"""Those that it cannot do without."""


def words_of_command(command: str, values: Mapping[str, str | int]) -> list[str]:
    """Return the words of a command, as a process takes them: no shell ever reads them.

    It is divided into words first and filled in then: a value is one word, whatever is in it.

    Args:
        command: Words with placeholders, quoted as for a shell.
        values: What placeholders stand for.
    """
    return [filled_in(word, values) for word in shlex.split(command)]


def filled_in(text: str, values: Mapping[str, str | int]) -> str:
    """Return a text with values in place of `{...}`; doubled braces are braces."""
    return text.format_map(values)


def has_step(path: str) -> bool:
    """Return whether a path is another one at each step."""
    return any(name == "step" for _, name, _, _ in Formatter().parse(path))


def trainer_rules(space: Space) -> Iterator[Broken]:
    """Yield every rule that the trainer of a space breaks."""
    trainer = space.trainer
    if trainer is None:
        return
    if (trainer.command is None) == (trainer.python is None):
        yield ("trainer",), "give exactly one of command, python"
        return
    if trainer.python is not None and trainer.resume is not None:
        yield ("trainer", "resume"), "belongs to command; a function is told in `last` and `step`"
    for key, known in _KNOWN.items():
        if (text := _at(trainer, key)) is not None:
            for message in _placeholders(text, known, _NEEDED.get(key, ())):
                yield ("trainer", *key), message
    yield from _places(trainer)
    yield from _losses(trainer)
    yield from _stops(space, trainer)
    yield from _ignored(space)


def _at(trainer: Trainer, key: tuple[str, ...]) -> str | None:
    found: object = trainer
    for name in key:
        found = None if found is None else getattr(found, name)
    return found if isinstance(found, str) else None


def _placeholders(text: str, known: tuple[str, ...], needed: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the placeholders of a text."""
    try:
        parsed = list(Formatter().parse(text))
        words = shlex.split(text) if needed else [text]  # others are no commands
    except ValueError as error:
        yield f"cannot be read ({error}); a brace that is none of a placeholder is doubled: {{{{"
        return
    if not words:
        yield "is empty"
        return
    if "{" in words[0] and words[0] != "{python}" and needed:
        yield f"begins with {words[0]}; the first word is the program"
    found = [name for _, name, _, _ in parsed if name is not None]
    listed = ", ".join(f"{{{each}}}" for each in known)
    for _, name, form, conversion in parsed:
        if name is None:
            continue
        is_padded = name == "step" and re.fullmatch(r"0\d{1,2}d", form or "")
        if name not in known or (form and not is_padded) or conversion:
            shown = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            hint = did_you_mean(name, list(known))
            yield f"has the unknown placeholder {{{shown}}}{hint or ''}; known: {listed}"
            return
    for name in needed:
        if name not in found:
            yield f"lacks {{{name}}}: nothing would tell the trainer of it"
            return


def _places(trainer: Trainer) -> Iterator[Broken]:
    """Yield the paths that are not below `{out}`: what is there is removed before it is retried."""
    for key in (("checkpoints", "path"), ("losses", "path")):
        parts = (_at(trainer, key) or "{out}").split("/")
        if parts[0] != "{out}" or ".." in parts:
            message = "must begin with {out}/, the folder of the candidate's own, and stay in it"
            yield ("trainer", *key), message


def _stops(space: Space, trainer: Trainer) -> Iterator[Broken]:
    """Yield steps that could be measured only by training to each of them anew."""
    is_anew = trainer.command is not None and trainer.resume is None
    if has_step(trainer.checkpoints.path) or trainer.evaluate == "trainer" or not is_anew:
        return
    known = {0, space.cut, space.latest_lag, space.training.steps}
    if further := sorted({*(space.evaluation.steps or ())} - known):
        message = (
            f"step {further[0]} needs a checkpoint of its own: give trainer.resume, or "
            "{step} in trainer.checkpoints.path"
        )
        yield ("evaluation", "steps"), message


def _losses(trainer: Trainer) -> Iterator[Broken]:
    if trainer.losses is None and trainer.command is not None:
        if trainer.evaluate == "trainer":
            message = "needs losses: {format: ..., key: ...}, which says where it logs them"
            yield ("trainer", "evaluate"), message
        elif not has_step(trainer.checkpoints.path):
            message = "is required where checkpoints.path has no {step}, to tell how far it came"
            yield ("trainer", "losses"), message
    if trainer.losses is not None and trainer.python is not None:
        yield ("trainer", "losses"), "belongs to command; a function yields its losses"


def _ignored(space: Space) -> Iterator[Broken]:
    """Yield what only lagsearch's own loop heeds."""
    for key in ("ema", "annealed"):
        if getattr(space.evaluation, key) != EvaluationSettings.model_fields[key].default:
            yield ("evaluation", key), "has no effect with a trainer of your own"
    if space.training.new_parameters is not None:
        message = "has no effect with a trainer of your own"
        yield ("training", "new_parameters"), message
    if space.training.optimizer.lr_tuned_for is not None:
        yield ("training", "optimizer", "lr_tuned_for"), "has no effect with a trainer of your own"
    if space.resources.profile:
        yield ("resources", "profile"), "has no effect with a trainer of your own"
