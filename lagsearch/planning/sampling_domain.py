"""What a space's `candidates` mean where they are sampled: choices to make one after the other.

The first chooses the entry, then one follows for each of its settings that has several values. What
was chosen decides what is asked next: settings of other entries are not.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lagsearch.errors import MistakeError, OperatorError
from lagsearch.models.configs import ModelShape
from lagsearch.operators import Drawn, alternatives, find_operator, sampled_settings
from lagsearch.space import Entry, Space

Plain = str | int | float | bool | None
"""A value as a storage of studies takes it."""

Choose = Callable[[str, Sequence[Plain]], Plain]
"""From the name of a parameter and its options to one of them."""

ENTRY = "entry"
"""The parameter that chooses the entry."""


Refuse = Callable[[tuple[str | int, ...], OperatorError, str], None]
"""Takes an entry that cannot be sampled from: where it is listed, why, and what it is called."""


@dataclass(frozen=True)
class Branch:
    """One entry of the candidates.

    Attributes:
        label: The operator's name, with a number where it has several entries.
        operator: The operator's name.
        at: Where the space lists it.
        values: Of each setting, what may be chosen, by its label; one where there is no choice.
        drawn: The settings that are drawn step by step.
    """

    label: str
    operator: str
    at: tuple[str | int, ...]
    values: Mapping[str, Mapping[Plain, Any]]
    drawn: Mapping[str, Drawn]

    @property
    def parameters(self) -> dict[str, tuple[Plain, ...]]:
        """The options of each parameter, by its name."""
        found: dict[str, tuple[Plain, ...]] = {
            f"{self.label}.{setting}": tuple(values)
            for setting, values in self.values.items()
            if len(values) > 1
        }
        for setting, each in self.drawn.items():
            for step, options in each.steps.items():
                found[f"{self.label}.{setting}.{step}"] = options
        return found

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return math.prod(len(options) for options in self.parameters.values())

    def entry(self, chosen: Mapping[str, Plain]) -> Entry:
        """Return the candidate that parameters stand for."""
        settings: dict[str, Any] = {}
        for setting, values in self.values.items():
            label = chosen[f"{self.label}.{setting}"] if len(values) > 1 else next(iter(values))
            settings[setting] = values[label]
        for setting, each in self.drawn.items():
            steps = [chosen[f"{self.label}.{setting}.{step}"] for step in each.steps]
            settings[setting] = each.value([int(step or 0) for step in steps])
        return Entry(self.operator, settings, self.at)


@dataclass(frozen=True)
class Domain:
    """All that may be sampled.

    Attributes:
        branches: In the order of the space.
    """

    branches: tuple[Branch, ...]

    @property
    def size(self) -> int:
        """How many combinations there are; several may come to the same growth."""
        return sum(branch.size for branch in self.branches)

    def draw(self, choose: Choose) -> Entry:
        """Choose one parameter after the other; return the candidate they stand for."""
        by_label = {branch.label: branch for branch in self.branches}
        label: Plain = next(iter(by_label))
        if len(by_label) > 1:
            label = choose(ENTRY, tuple(by_label))
        branch = by_label[str(label)]
        options = branch.parameters.items()
        return branch.entry({name: choose(name, values) for name, values in options})

    def examples(self) -> Iterator[Entry]:
        """Yield of each entry the first of all options, and every other value by itself.

        Of what is drawn step by step these are the first and the last option of all steps.
        """
        for branch in self.branches:
            first = {name: options[0] for name, options in branch.parameters.items()}
            yield branch.entry(first)
            for setting, values in branch.values.items():
                for label in list(values)[1:]:
                    yield branch.entry({**first, f"{branch.label}.{setting}": label})
            for setting in branch.drawn:
                steps = f"{branch.label}.{setting}."
                last = {name: options[-1] for name, options in branch.parameters.items()}
                of_it = {name: each for name, each in last.items() if name.startswith(steps)}
                yield branch.entry({**first, **of_it})


def _raise(at: tuple[str | int, ...], error: OperatorError, name: str) -> None:
    raise error


def make_domain(
    space: Space,
    sources: Mapping[str, ModelShape],
    target: ModelShape,
    refuse: Refuse = _raise,
) -> Domain:
    """Read a space's candidates as what may be sampled; baselines are left out.

    Args:
        space: The space.
        sources: Shapes of the sources by their names.
        target: Shape to reach.
        refuse: Is told of entries of an unknown operator, with a word that does not fit, or with a
            value that is listed twice; and when nothing is there to be sampled. They are raised
            when left out.
    """
    branches: list[Branch] = []
    is_refused = False
    for index, listed in enumerate(space.candidates):
        at = ("candidates", index)
        settings = {key: value for key, value in listed.items() if key != "operator"}
        name = listed.get("operator", "combined")
        try:
            if find_operator(name).is_baseline:
                continue
            to_draw = sampled_settings(name, settings, sources, target)
            values = {
                setting: _values(name, setting, value, tuple(sources), space.seed)
                for setting, value in settings.items()
                if setting not in to_draw
            }
        except OperatorError as error:
            refuse(at, error, name)
            is_refused = True
            continue
        before = sum(branch.operator == name for branch in branches)
        label = f"{name}#{before + 1}" if before else name
        branches.append(Branch(label, name, at, values, to_draw))
    if not branches and not is_refused:
        message = "there is nothing to sample but baselines: list an operator that grows"
        refuse(("candidates",), MistakeError(message), "")
    return Domain(tuple(branches))


def _values(
    name: str, setting: str, value: Any, sources: tuple[str, ...], seed: int
) -> dict[Plain, Any]:
    """Return the values that a setting may have, by their labels.

    Raises:
        OperatorError: A word does not fit, or a value is there twice.
    """
    listed = value if isinstance(value, list) else [value]
    found = [
        each[setting]
        for one in listed
        for each in alternatives(name, {setting: one}, sources, seed)
    ]
    is_plain = all(isinstance(each, Plain) for each in found)
    labels = found if is_plain else [json.dumps(each) for each in found]
    by_label = dict(zip(labels, found, strict=True))
    if len(by_label) < len(found):
        raise MistakeError("has a value twice: list it once", setting)
    return by_label
