"""What decides the loss: the share of its variance that each setting explains.

Optuna's evaluators are not used: they rank settings by numbers that add up to 1 whatever the
losses are, so that noise has an importance too, and know no settings that only some operators
have; fANOVA needs scikit-learn besides. With the few candidates of a search, a test is needed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagsearch.selection.scores import Array
from lagsearch.selection.student import t_quantile

EVALUATOR = "analysis of variance"

PERMUTATIONS = 9999


@dataclass(frozen=True)
class Marginal:
    """The losses of all candidates with one value of a setting.

    Attributes:
        value: As text.
        mean: Their mean.
        candidates: Their names.
        interval: 95 % t-interval of the mean; None for one candidate.
    """

    value: str
    mean: float
    candidates: tuple[str, ...]
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Dimension:
    """One dimension of the design space.

    Attributes:
        operator: The operator it is a setting of; None for the choice of the operator.
        name: Of the setting.
        importance: Share of the variance of the losses that it explains, less what chance would
            (adjusted R squared of a one-way analysis of variance), at least 0.
        p_value: Of a permutation test: how often losses dealt out at random would give as much.
        marginals: By value, in the order of the space.
    """

    operator: str | None
    name: str
    importance: float
    p_value: float
    marginals: tuple[Marginal, ...]


def importance(
    designs: Mapping[str, tuple[str, Mapping[str, Any]]],
    losses: Mapping[str, float],
    generator: np.random.Generator,
) -> list[Dimension]:
    """Return the dimensions of a design space, the operator first, each operator's together.

    A setting is looked at within its operator, over the candidates that have it. It must have at
    least two values, and one of them in two candidates, or nothing tells it from chance. Settings
    that vary together share what they explain: each is looked at alone.

    Args:
        designs: Operator and settings of each candidate.
        losses: At one step; candidates without one are left out.
        generator: Deals out the losses for the test.
    """
    kept = [name for name in designs if name in losses and np.isfinite(losses[name])]
    operators = {name: designs[name][0] for name in kept}
    wanted: list[tuple[str | None, str, dict[str, str]]] = [(None, "operator", operators)]
    for operator in dict.fromkeys(operators.values()):
        own = [name for name in kept if operators[name] == operator]
        for setting in dict.fromkeys(key for name in own for key in designs[name][1]):
            values = {
                name: _text(designs[name][1][setting])
                for name in own
                if setting in designs[name][1]
            }
            wanted.append((operator, setting, values))
    found = []
    for of_operator, setting, values in wanted:
        labels = list(dict.fromkeys(values.values()))
        if not 2 <= len(labels) < len(values):
            continue
        of_value = np.array([labels.index(value) for value in values.values()])
        own_losses = np.array([losses[name] for name in values], np.float64)
        share, p_value = _explained(own_losses, of_value, generator)
        marginals = tuple(
            _marginal(label, {name: losses[name] for name in values if values[name] == label})
            for label in labels
        )
        found.append(Dimension(of_operator, setting, share, p_value, marginals))
    return found


def _text(value: Any) -> str:
    """Return a value as one would say it: an operator in an operator by its name and settings."""
    if isinstance(value, dict) and "operator" in value:
        settings = sorted((key, each) for key, each in value.items() if key != "operator")
        return ", ".join([value["operator"], *(f"{key} {_text(each)}" for key, each in settings)])
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _marginal(value: str, of_candidate: Mapping[str, float]) -> Marginal:
    names, losses = tuple(of_candidate), np.array(list(of_candidate.values()))
    mean, n = float(losses.mean()), len(losses)
    if n < 2:
        return Marginal(value, mean, names, None)
    reach = float(-t_quantile(0.025, n - 1) * losses.std(ddof=1) / np.sqrt(n))
    return Marginal(value, mean, names, (mean - reach, mean + reach))


def _explained(
    losses: Array, of_value: NDArray[np.int64], generator: np.random.Generator
) -> tuple[float, float]:
    """Return the adjusted share of variance that values explain, and its p-value."""
    own = losses - losses.mean()
    total = float((own**2).sum())
    if total <= len(own) * (1e-12 * np.abs(losses).max()) ** 2:
        return 0.0, 1.0
    members = np.eye(of_value.max() + 1)[of_value]
    sizes = members.sum(axis=0)
    size, degrees = len(own), len(own) - len(sizes)
    between = float(((own @ members) ** 2 / sizes).sum())
    adjusted = 1 - (total - between) / degrees / (total / (size - 1))
    count = int(np.clip(2_000_000 // size, 199, PERMUTATIONS))
    dealt = generator.permuted(np.tile(own, (count, 1)), axis=1)
    by_chance = ((dealt @ members) ** 2 / sizes).sum(axis=1)
    as_much = int((by_chance >= between - 1e-9 * total).sum())
    return max(adjusted, 0.0), (as_much + 1) / (count + 1)
