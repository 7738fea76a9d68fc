"""What a person sees while a run goes on: a live table, or plain lines without a terminal."""

import atexit
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from typing_extensions import override

from lagsearch.display.screen import write
from lagsearch.display.time_left import Later, TimeLeft

_PLAIN_EVERY_S = 15.0
_WIDE = 72  # columns from which a table has lines around it, and ranks
_COLUMNS_BESIDE = (22, 38)  # of the table, beside names: in a narrow terminal, in a wide one
_LINES_BESIDE = 8  # of the terminal, beside rows


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        name: The job's name.
        step: Updates so far.
        val_loss: The newest validation loss, nats per predicted token, if there is one.
        wall_s: Seconds of training and evaluation so far.
        learned: Steps so far of learning its operator, while that goes on.
        to_evaluate: Evaluations that are still to come on the way.
        evaluated_at: The step that this loss is of; its own where left out.
    """

    name: str
    step: int
    val_loss: float | None
    wall_s: float
    learned: int | None = None
    to_evaluate: int = 0
    evaluated_at: int | None = None


@dataclass(frozen=True)
class DoneBefore:
    """What is known of a phase when it begins.

    Attributes:
        losses: Of models that came to its end before, by name.
        step: Where they are.
        unranked: Models that are shown beside the others, and not ranked.
        reached: How far those have come that go on.
        later: What the run trains after the phase; None where that is not known.
        slots: How many models are trained at a time.
    """

    losses: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    unranked: frozenset[str] = frozenset()
    reached: Sequence[Progress] = ()
    later: Sequence[Later] | None = None
    slots: int = 1


class Watch:
    """Follows a run. This one is silent; others override what they show."""

    before = DoneBefore()

    def say(self, line: str) -> None:
        """Show one line that stays."""

    def passing(self, line: str) -> None:
        """Show one line until the next one takes its place; an empty one ends that."""

    @contextmanager
    def doing(self, what: str, *, is_brief: bool = False) -> Iterator[None]:
        """Show what goes on for as long as a block lasts.

        Args:
            what: In a few words, e.g. `reading the text`.
            is_brief: It takes seconds, and is not worth a line that stays.
        """
        yield

    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        """Begin a phase in which each of the named models trains up to its step."""

    @contextmanager
    def during(
        self, phase: str, ends: Mapping[str, int], before: DoneBefore | None = None
    ) -> Iterator[None]:
        """Begin a phase, and end it whatever happens inside."""
        try:
            self.before = before or DoneBefore()
            self.begin(phase, ends)
            yield
        finally:
            self.end()

    def progress(self, progress: "Progress") -> None:
        """Note a sign of life."""

    def finished(self, name: str) -> None:
        """Note that a model reached its step."""

    def failed(self, name: str, reason: str) -> None:
        """Note that a model failed."""

    def end(self) -> None:
        """End the phase."""


class _Phase(Watch):
    """Keeps what both shown forms need: steps, losses, ranks so far and the time left."""

    def __init__(self) -> None:
        self._clear("", {})

    @override
    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        self._clear(phase, ends)

    def _clear(self, phase: str, ends: Mapping[str, int]) -> None:
        before = self.before
        there = {name: before.step for name in before.losses}
        self.title, self.ends, self.unranked = phase, {**there, **ends}, before.unranked
        self.steps = dict.fromkeys(ends, 0) | there
        self.losses = dict(before.losses)
        self.evaluated_at = dict(there)
        self.state = dict.fromkeys(ends, "") | dict.fromkeys(there, "done")
        self.learned: dict[str, int] = {}
        begun = {each.name: each.step for each in before.reached}
        self.pace = TimeLeft(ends, begun, before.later or (), before.slots)
        for each in before.reached:
            self._place(each)

    @override
    def progress(self, progress: "Progress") -> None:
        name, now = progress.name, time.monotonic()
        self.pace.hear(name, now, progress.step, progress.val_loss, progress.to_evaluate)
        self.state[name] = "running"
        self._place(progress)
        if progress.learned is not None:
            self.learned[name] = progress.learned
        else:
            self.learned.pop(name, None)

    def _place(self, progress: "Progress") -> None:
        """Note where a model is; one that only says that it lives is where it was."""
        name = progress.name
        self.steps[name] = progress.step or self.steps[name]
        if progress.val_loss is not None:
            self.losses[name] = progress.val_loss
            at = progress.evaluated_at
            self.evaluated_at[name] = progress.step if at is None else at

    @override
    def finished(self, name: str) -> None:
        self.pace.end(name, time.monotonic())
        self.state[name] = "done"
        self.steps[name] = self.ends[name]

    @override
    def failed(self, name: str, reason: str) -> None:
        self.pace.end(name, time.monotonic())
        self.state[name] = "failed"
        self.losses.pop(name, None)

    def step(self, name: str) -> str:
        """Return how far a model is, in words."""
        if name in self.learned:
            return f"0 (learning, {self.learned[name]:,})"
        return f"{self.steps[name]:,}"

    def rank(self, name: str) -> int | None:
        """Return the rank among the finished ones, where all are trained equally long."""
        done = [
            each
            for each in self.ends
            if self.state[each] == "done" and each in self.losses and each not in self.unranked
        ]
        if name not in done or len({*self.ends.values()}) > 1:
            return None
        return 1 + sum(self.losses[each] < self.losses[name] for each in done)

    def goal(self) -> str:
        """Return how far the models are trained, in words."""
        first, last = min(self.ends.values()), max(self.ends.values())
        return f"to step {last:,}" if first == last else f"to steps {first:,} to {last:,}"

    def time_left(self) -> str:
        """Return the time left, to be said behind the goal: of all that the run still trains.

        To the goal alone, where it is not known what comes after; nothing before a pace is known.
        """
        left = self.pace.seconds(time.monotonic())
        if left is None:
            return ""
        about = f"about {clock(left)}"
        return f" in {about}" if self.before.later is None else f", {about} left in all"


class PlainWatch(_Phase):
    """Writes a line when a model ends, and now and then in between."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.wrote = time.monotonic()

    @override
    def say(self, line: str) -> None:
        write(line, self.stream)

    @override
    def passing(self, line: str) -> None:
        if line and time.monotonic() - self.wrote > _PLAIN_EVERY_S:
            self.say(f"  {line}")
            self.wrote = time.monotonic()

    @override
    @contextmanager
    def doing(self, what: str, *, is_brief: bool = False) -> Iterator[None]:
        if not is_brief:
            self.say(what)
        yield

    @override
    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        super().begin(phase, ends)
        many = f"{len(ends)} trainings" if len(ends) > 1 else next(iter(ends))
        there = f"; {len(self.before.losses)} came there before" if self.before.losses else ""
        title = f"{phase}: {many}" if many not in phase else phase
        self.say(f"{title} {self.goal()}{there}")
        self.wrote = time.monotonic()

    @override
    def progress(self, progress: "Progress") -> None:
        super().progress(progress)
        if time.monotonic() - self.wrote > _PLAIN_EVERY_S:
            self._line(progress.name)

    @override
    def finished(self, name: str) -> None:
        super().finished(name)
        self._line(name)

    @override
    def failed(self, name: str, reason: str) -> None:
        super().failed(name, reason)
        self.say(f"  {name}: failed, {reason}")

    def _line(self, name: str) -> None:
        self.wrote = time.monotonic()
        ended = sum(state in ("done", "failed") for state in self.state.values())
        parts = [f"  [{ended}/{len(self.ends)}] {name}", f"step {self.step(name)}"]
        if name in self.losses:
            at = self.evaluated_at[name]
            of = f" (of step {at:,})" if at != self.steps[name] else ""
            parts.append(f"val loss {self.losses[name]:.4f}{of}")
        if (rank := self.rank(name)) and len(self.ends) > 1:
            parts.append(f"rank {rank} so far")
        left = self.time_left()
        if left and self.before.later is None:
            left = f", {self.goal()}{left}" if ended < len(self.ends) else ""
        self.say(", ".join(parts) + left)


class LiveWatch(_Phase):
    """Shows in a terminal what goes on: one live table, and below it a line with a spinner."""

    def __init__(self) -> None:
        super().__init__()
        from rich.spinner import Spinner

        from lagsearch.display.console import make_console

        self.console = make_console(sys.stderr)
        self.live: Any = None
        self.is_training = False
        self.line = ""
        self.doings: list[tuple[str, float]] = []
        is_unicode = self.console.encoding.startswith("utf")
        self.spinner = Spinner("dots" if is_unicode else "line")
        atexit.register(self._leave)

    @override
    def say(self, line: str) -> None:
        self.console.print(line)

    @override
    def passing(self, line: str) -> None:
        self.line = line
        self._show()

    @override
    @contextmanager
    def doing(self, what: str, *, is_brief: bool = False) -> Iterator[None]:
        before = list(self.doings)
        try:
            self.doings.append((what, time.monotonic()))
            self._show()
            yield
        finally:
            self.doings = before
            self._show()

    @override
    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        super().begin(phase, ends)
        self.is_training = True
        self._show()

    @override
    def failed(self, name: str, reason: str) -> None:
        super().failed(name, reason)
        self.say(f"{name}: failed, {reason}")

    @override
    def end(self) -> None:
        self.is_training = False
        self._show()
        ended = sum(state == "done" for state in self.state.values())
        self.say(f"{self.title}: {ended} of {len(self.ends)} done, {self.goal()}")

    def _leave(self) -> None:
        """Give the terminal back, its cursor too, whatever an interrupt came between."""
        if self.live is not None:
            self.live.stop()

    def _show(self) -> None:
        """Show what there is to show, from now on; or nothing."""
        from rich.live import Live

        is_wanted = self.is_training or bool(self.doings) or bool(self.line)
        if is_wanted and self.live is None:
            self.live = Live(
                get_renderable=self._shown,
                console=self.console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self.live.start(refresh=True)
        elif is_wanted:
            self.live.refresh()
        elif self.live is not None:
            live, self.live = self.live, None
            live.stop()

    def _shown(self) -> Any:
        from rich.console import Group

        from lagsearch.display.console import plain

        parts: list[Any] = []
        if self.is_training:
            parts += [plain(f"{self.title}, {self.goal()}{self.time_left()}"), self._table()]
        if self.line or self.doings:
            self.spinner.update(text=plain(self.line or self._doing()))
            parts.append(self.spinner)
        return Group(*parts)

    def _doing(self) -> str:
        if not self.doings:
            return ""
        what, since = self.doings[-1]
        return f"{what}  {clock(time.monotonic() - since)}"

    def _table(self) -> Any:
        """Return the table of the models; in a narrow terminal without lines and ranks."""
        from rich import box
        from rich.table import Table

        is_wide = self.console.width >= _WIDE
        table = Table(box=box.ROUNDED if is_wide else None, pad_edge=is_wide)
        table.add_column("candidate", overflow="fold")
        headings = ("val loss (step)", "rank") if is_wide else ("loss (step)",)
        for heading in ("step", *headings):
            table.add_column(heading, justify="right", no_wrap=heading != "step")
        names = self._rows()
        for name in names:
            loss = ""
            if name in self.losses:
                loss = f"{self.losses[name]:.4f} ({self.evaluated_at[name]:,})"
            state = self.state[name]
            step = "failed" if state == "failed" else self.step(name)
            ranks = [str(self.rank(name) or "")] if is_wide else []
            style = {"running": "bold", "": "dim"}.get(state)
            table.add_row(name, step, loss, *ranks, style=style)
        if more := len(self.ends) - len(names):
            table.add_row(f"and {more} more", style="dim")
        return table

    def _rows(self) -> list[str]:
        """Return the models that fit: running ones first, then by loss, then those to come."""
        order = {"running": 0, "done": 1, "failed": 2, "": 3}
        far = float("inf")
        ranked = sorted(
            self.ends, key=lambda name: (order[self.state[name]], self.losses.get(name, far))
        )
        room = max(8, self.console.height - _LINES_BESIDE)
        beside = _COLUMNS_BESIDE[self.console.width >= _WIDE]
        width = max(10, self.console.width - beside)
        fitting: list[str] = []
        for name in ranked:
            room -= -(-len(name) // width)
            if room < 0:
                break
            fitting.append(name)
        return fitting


def make_watch() -> Watch:
    """Return what shows a run: live where stderr is a terminal that can, else in plain lines."""
    is_live = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return LiveWatch() if is_live else PlainWatch(sys.stderr)


def make_waiting_watch() -> Watch:
    """Return what shows the waiting for a command of seconds: without a terminal it is silent."""
    watch = make_watch()
    return watch if isinstance(watch, LiveWatch) else Watch()


def clock(seconds: float) -> str:
    """Write seconds as `m:ss` or `h:mm:ss`."""
    whole = round(seconds)
    minutes, seconds_left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds_left:02}" if hours else f"{minutes}:{seconds_left:02}"
