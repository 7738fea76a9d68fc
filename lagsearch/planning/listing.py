"""The candidates of a space, sorted out: which can be, which are the same growth, which cannot be.

What is wrong is told all at once; what does not fit is left out where that is asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from lagsearch.errors import (
    LagsearchError,
    MistakeError,
    ModelError,
    OperatorError,
    SpaceError,
    and_then,
)
from lagsearch.operators import name_of
from lagsearch.space import Entry, StageFile

Place = tuple[str | int, ...]
"""A key of the space file."""


class Grows(Protocol):
    """What two candidates are compared by."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def growth(self) -> str:
        """What is the same for candidates that come to the same growth."""

    @property
    def is_baseline(self) -> bool:
        """Whether it serves for comparison."""


@dataclass(frozen=True)
class LeftOut:
    """A candidate that does not fit.

    Attributes:
        name: Its name.
        reason: Why.
    """

    name: str
    reason: str


AnyCandidate = TypeVar("AnyCandidate", bound=Grows)


class Listing(Generic[AnyCandidate]):
    """Takes candidates one after the other.

    Args:
        file: The space, whose lines errors name.
        sources: The sources' names.

    Attributes:
        candidates: Those that can be, each growth once.
        also: Further names of a candidate, by its name.
        left_out: Those that do not fit.
    """

    def __init__(self, file: StageFile, sources: Sequence[str]) -> None:
        self._file, self._sources = file, tuple(sources)
        self.candidates: list[AnyCandidate] = []
        self.also: dict[str, list[str]] = {}
        self.left_out: list[LeftOut] = []
        self._growths: dict[tuple[str, bool], str] = {}
        self._mistakes: list[str] = []
        self._unfit: list[str] = []

    def take(
        self, entry: Entry, plan: Callable[[], AnyCandidate], *, is_listed: bool = True
    ) -> None:
        """Take a candidate: a new growth, a further name of a known one, or one that cannot be.

        Args:
            entry: Where it is listed.
            plan: Plans it.
            is_listed: Whether somebody asked for it; what is added to a space adds no name.
        """
        try:
            planned = plan()
        except MistakeError as mistake:
            self.refuse(entry.at, mistake, entry.operator)
            return
        except (OperatorError, ModelError) as error:
            try:
                name = name_of(entry.operator, entry.settings, self._sources)
            except MistakeError as mistake:  # which says more than that it does not fit
                self.refuse(entry.at, mistake, entry.operator)
            else:
                self.refuse(entry.at, error, name)
            return
        twin = self._growths.setdefault((planned.growth, planned.is_baseline), planned.name)
        if twin != planned.name:
            names = self.also[twin]
            if is_listed and planned.name not in names:
                names.append(planned.name)
        elif planned.name not in self.also:
            self.candidates.append(planned)
            self.also[planned.name] = []

    def refuse(self, at: Place, error: LagsearchError, name: str) -> None:
        """Take what cannot be.

        Args:
            at: Where it is listed.
            error: Why.
            name: What it is called.
        """
        setting = getattr(error, "setting", None)
        line = str(self._file.error((*at, setting) if setting else at, str(error)))
        if isinstance(error, MistakeError):
            self._mistakes.append(line)
            return
        self._unfit.append(line)
        self.left_out.append(LeftOut(name, str(error)))

    def check(self) -> None:
        """Check that there is nothing wrong but what may be left out.

        Raises:
            SpaceError: There is; each in a line.
        """
        skips = self._file.space.search.skip_unfit
        is_empty = not any(not each.is_baseline for each in self.candidates)
        wrong = self._mistakes + ([] if skips and not is_empty else self._unfit)
        if not wrong:
            return
        lines = [
            line if (count := wrong.count(line)) == 1 else f"{line} ({count} candidates)"
            for line in dict.fromkeys(wrong)
        ]
        may_skip = bool(self._unfit) and not skips and not is_empty
        if len(lines) == 1:
            way = "--skip-unfit leaves it out"
            raise SpaceError(and_then(lines[0], way) if may_skip else lines[0])
        hint = "; --skip-unfit leaves out those that do not fit" if may_skip else ""
        none = ", and no other is left" if skips and is_empty and self._unfit else ""
        head = f"{self._file.path}: {len(wrong)} candidates cannot be{none}{hint}:"
        raise SpaceError("\n".join([head, *lines]))


def names_in(candidates: Iterable[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Return each candidate's name by every name that it has.

    Args:
        candidates: Names with their further names.
    """
    found: dict[str, str] = {}
    for name, also in candidates:
        found |= {each: name for each in (name, *also)}
    return found


def tell_left_out(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Yield lines that say which candidates are left out and why, equal reasons in one."""
    by_reason = sorted(left_out, key=lambda each: each.reason)
    for reason, group in groupby(by_reason, key=lambda each: each.reason):
        yield f"left out: {', '.join(each.name for each in group)}: {reason}"
