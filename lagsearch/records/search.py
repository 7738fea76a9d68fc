"""Candidates that were trained side by side, and what choosing among them at K comes to.

A run folder is read into this, and so are curves from elsewhere; statistics know nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lagsearch.errors import RunFolderError
from lagsearch.records.curve import Curve
from lagsearch.records.seeds import mean_curve
from lagsearch.records.strategy_input import measured_of
from lagsearch.selection import (
    Choice,
    LossTable,
    Measured,
    Order,
    SearchSettings,
    decide,
    find_signal,
)


@dataclass(frozen=True)
class Terms:
    """On what terms candidates are compared.

    Attributes:
        name: What the report is headed.
        seed: The root of every random number.
        seeds: Seeds that every candidate was trained under.
        settings: When the choice falls, and by what.
        asked_lag: K as it was asked for.
        has_oracle: Whether candidates were trained to completion, to score the ranking.
        baselines: Candidates that are no growths.
        annealed: Steps of each decay of the rate, by the step at which it branches off.
        ignored: Columns of a file of curves that were not read.
    """

    name: str
    seed: int
    seeds: tuple[int, ...]
    settings: SearchSettings
    asked_lag: int | Literal["auto"] | None = None
    has_oracle: bool = False
    baselines: frozenset[str] = frozenset()
    annealed: Mapping[int, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Searched:
    """Candidates, their curves, and the choice among them.

    Attributes:
        terms: On what terms they are compared.
        curves: Each candidate's evaluations, the mean over seeds (`mean_curve`).
        by_seed: Each candidate's evaluations under each seed.
        measured: Of all candidates that did not fail.
        choice: What the search came to.
        ranking: All candidates: as chosen, failed ones last.
    """

    terms: Terms
    curves: Mapping[str, Curve]
    by_seed: Mapping[str, tuple[Curve, ...]]
    measured: Measured
    choice: Choice
    ranking: tuple[str, ...]

    @property
    def lag(self) -> int:
        """K: the step of the choice."""
        return self.choice.step

    @property
    def table(self) -> LossTable:
        """Losses of all candidates that did not fail."""
        return self.measured.loss

    @property
    def judged(self) -> LossTable:
        """What candidates that were not stopped were judged by at K."""
        signal = find_signal(self.terms.settings.signal)
        open_ones = [name for name in self.table.candidates if name not in self.choice.stopped]
        return signal.judge(self.measured.only(open_ones), self.lag, self.completion)

    @property
    def completion(self) -> int:
        """The last step."""
        return self.terms.settings.completion

    @property
    def winner(self) -> str:
        """The best candidate at K that did not fail."""
        return self.ranking[0]

    @property
    def growths(self) -> list[str]:
        """The candidates that are no baselines and did not fail, in table order."""
        return [name for name in self.table.candidates if name not in self.terms.baselines]

    @property
    def complete_growths(self) -> list[str]:
        """Those of them that reached completion: what a ranking is scored over."""
        return [name for name in self.growths if self.final(name) is not None]

    def final(self, name: str) -> float | None:
        """Return a candidate's loss at completion, if it got there."""
        evaluation = self.curves[name].at(self.completion)
        return evaluation.val_loss if evaluation else None


def conclude(
    terms: Terms, by_seed: Mapping[str, tuple[Curve, ...]], where: Path
) -> Searched | Order:
    """Return what a search over candidates comes to, or what is missing for it to choose.

    Args:
        terms: On what terms candidates are compared.
        by_seed: Each candidate's evaluations under each seed.
        where: The folder or file that they are from, for messages.

    Raises:
        RunFolderError: All candidates failed.
    """
    curves = {name: mean_curve(found, terms.seeds) for name, found in by_seed.items()}
    alive = {name: found for name, found in by_seed.items() if curves[name].failure is None}
    if not alive:
        raise RunFolderError(f"{where}: all candidates failed")
    measured = measured_of(alive, terms.settings.completion)
    choice = decide(measured, terms.settings)
    if isinstance(choice, Order):
        return choice
    ranking = choice.ranking + tuple(name for name in by_seed if name not in alive)
    return Searched(terms, curves, by_seed, measured, choice, ranking)
