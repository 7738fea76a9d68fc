"""The downstream tasks and candidates that a space asks for, ready-made lists spelt out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lagsearch.space.schema import Harness


@dataclass(frozen=True)
class AskedTask:
    """One task, tag or group of lm-evaluation-harness.

    Attributes:
        name: Its name there.
        num_fewshot: Examples in a prompt; None for what the task says, 0 where it says nothing.
    """

    name: str
    num_fewshot: int | None = None


READY_MADE: dict[str, tuple[AskedTask, ...]] = {
    # arXiv:2405.15319, figure 3: zero-shot, by this harness
    "gstack": tuple(
        AskedTask(name, 0)
        for name in (
            "lambada_openai",
            "arc_challenge",
            "arc_easy",
            "logiqa",
            "piqa",
            "sciq",
            "winogrande",
            "wikitext",
        )
    ),
    # arXiv:2406.02469, appendix B: one-shot. It does not say which form of TyDi QA; its exact
    # matches, far above those of TriviaQA without a text, are those of questions with a passage
    "lag": tuple(AskedTask(name, 1) for name in ("tydiqa_goldp_en", "triviaqa", "lambada_openai")),
}
"""Tasks of published comparisons, by the word that stands for them."""


def asked_tasks(harness: Harness) -> tuple[AskedTask, ...]:
    """Return what is to be evaluated, each once, in the order of the space."""
    asked = [
        each if harness.num_fewshot is None else AskedTask(each.name, harness.num_fewshot)
        for name in harness.tasks
        for each in READY_MADE.get(name, (AskedTask(name),))
    ]
    return tuple(dict.fromkeys(asked))


def repeated_task(before: Iterable[str], name: str) -> str | None:
    """Return which of the names before asks for a task that this one asks for, if one does.

    Ready-made lists may share tasks.
    """
    for other in before:
        if name == other or name in _listed(other) or other in _listed(name):
            return other
    return None


def _listed(word: str) -> list[str]:
    return [each.name for each in READY_MADE.get(word, ())]


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the candidates that a name or pattern means."""
    return [name for name in names if fnmatchcase(name, pattern)]


def chosen_candidates(harness: Harness, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the candidates that the harness names, in the order of `names`.

    Args:
        harness: What the space says.
        names: Each candidate's name by every name that it has.
    """
    patterns = harness.candidates
    found = {names[each] for pattern in patterns for each in matching(pattern, tuple(names))}
    return tuple(name for name in dict.fromkeys(names.values()) if name in found)
