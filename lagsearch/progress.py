"""What a person sees while a run goes on: a live table, or plain lines without a terminal."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from typing_extensions import override

if TYPE_CHECKING:
    from lagsearch.training.loop import Progress

_PLAIN_EVERY_S = 15.0
_PACE_AFTER_S = 5.0  # before that a pace says little


class Watch:
    """Follows a run. This one is silent; others override what they show."""

    def say(self, line: str) -> None:
        """Show one line that stays."""

    def passing(self, line: str) -> None:
        """Show one line until the next one takes its place; an empty one ends that."""

    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        """Begin a phase in which each of the named models trains up to its step."""

    @contextmanager
    def during(self, phase: str, ends: Mapping[str, int]) -> Iterator[None]:
        """Begin a phase, and end it whatever happens inside."""
        self.begin(phase, ends)
        try:
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
        self.ends: dict[str, int] = {}

    @override
    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        self.title, self.ends = phase, dict(ends)
        self.steps = dict.fromkeys(ends, 0)
        self.losses: dict[str, float] = {}
        self.state = dict.fromkeys(ends, "")
        self.learned: dict[str, int] = {}
        self.began: float | None = None
        self.skipped = 0

    @override
    def progress(self, progress: "Progress") -> None:
        name = progress.name
        if self.began is None:
            self.began = time.monotonic()
        if not self.state[name]:  # what a resumed model did before does not tell its pace
            self.skipped += progress.step
            self.state[name] = "running"
        self.steps[name] = progress.step
        if progress.val_loss is not None:
            self.losses[name] = progress.val_loss
        if progress.learned is not None:
            self.learned[name] = progress.learned
        else:
            self.learned.pop(name, None)

    @override
    def finished(self, name: str) -> None:
        self.state[name] = "done"
        self.steps[name] = self.ends[name]

    @override
    def failed(self, name: str, reason: str) -> None:
        self.state[name] = "failed"
        self.losses.pop(name, None)

    def step(self, name: str) -> str:
        """Return how far a model is, in words."""
        if name in self.learned:
            return f"0 (learning, {self.learned[name]:,})"
        return f"{self.steps[name]:,}"

    def rank(self, name: str) -> int | None:
        """Return the rank among the finished ones, where all are trained equally long."""
        done = [each for each in self.ends if self.state[each] == "done"]
        if name not in done or name not in self.losses or len({*self.ends.values()}) > 1:
            return None
        return 1 + sum(self.losses[each] < self.losses[name] for each in done)

    def goal(self) -> str:
        """Return how far the models are trained, in words."""
        first, last = min(self.ends.values()), max(self.ends.values())
        return f"to step {last:,}" if first == last else f"to steps {first:,} to {last:,}"

    def time_left(self) -> str:
        """Return `, m:ss left` from the pace so far, or nothing before there is one."""
        if self.began is None:
            return ""
        alive = [name for name in self.ends if self.state[name] != "failed"]
        total = sum(self.ends[name] for name in alive)
        done = sum(self.steps[name] for name in alive)
        elapsed = time.monotonic() - self.began
        if done <= self.skipped or elapsed < _PACE_AFTER_S:
            return ""
        return f", {clock((total - done) * elapsed / (done - self.skipped))} left"


class PlainWatch(_Phase):
    """Writes a line when a model ends, and now and then in between."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.wrote = time.monotonic()

    @override
    def say(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()

    @override
    def passing(self, line: str) -> None:
        if line and time.monotonic() - self.wrote > _PLAIN_EVERY_S:
            self.say(f"  {line}")
            self.wrote = time.monotonic()

    @override
    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        super().begin(phase, ends)
        many = f"{len(ends)} trainings" if len(ends) > 1 else next(iter(ends))
        self.say(f"{phase}: {many} {self.goal()}")
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
            parts.append(f"val loss {self.losses[name]:.4f}")
        if (rank := self.rank(name)) and len(self.ends) > 1:
            parts.append(f"rank {rank} so far")
        left = self.time_left() if ended < len(self.ends) else ""
        self.say(", ".join(parts) + left)


class LiveWatch(_Phase):
    """Shows one live table in a terminal."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self.console = Console(stderr=True)
        self.live: Any = None

    @override
    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    @override
    def passing(self, line: str) -> None:
        from rich.live import Live
        from rich.text import Text

        if self.live is None and line:
            self.live = Live(console=self.console, refresh_per_second=2, transient=True)
            self.live.start()
        if self.live is not None and line:
            self.live.update(Text(line))
        elif self.live is not None:
            self.live.stop()
            self.live = None

    @override
    def begin(self, phase: str, ends: Mapping[str, int]) -> None:
        super().begin(phase, ends)
        from rich.live import Live

        self.live = Live(
            get_renderable=self._table, console=self.console, refresh_per_second=2, transient=True
        )
        self.live.start()

    @override
    def failed(self, name: str, reason: str) -> None:
        super().failed(name, reason)
        self.say(f"{name}: failed, {reason}")

    @override
    def end(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None
        ended = sum(state == "done" for state in self.state.values())
        self.say(f"{self.title}: {ended} of {len(self.ends)} done")

    def _table(self) -> Any:
        from rich.table import Table

        title = f"{self.title}, {self.goal()}{self.time_left()}"
        table = Table(title=title, title_justify="left")
        for heading in ("candidate", "step", "val loss", "rank so far"):
            table.add_column(heading, justify="left" if heading == "candidate" else "right")
        for name in self._shown():
            loss = f"{self.losses[name]:.4f}" if name in self.losses else ""
            state = self.state[name]
            step = "failed" if state == "failed" else self.step(name)
            style = {"running": "bold", "": "dim"}.get(state)
            table.add_row(name, step, loss, str(self.rank(name) or ""), style=style)
        return table

    def _shown(self) -> list[str]:
        """Return the rows that fit: running ones first, then by loss, then those to come."""
        order = {"running": 0, "done": 1, "failed": 2, "": 3}
        far = float("inf")
        ranked = sorted(
            self.ends, key=lambda name: (order[self.state[name]], self.losses.get(name, far))
        )
        return ranked[: max(4, self.console.size.height - 6)]


def make_watch() -> Watch:
    """Return a live table where stderr is a terminal, else plain lines."""
    return LiveWatch() if sys.stderr.isatty() else PlainWatch(sys.stderr)


def clock(seconds: float) -> str:
    """Write seconds as `m:ss` or `h:mm:ss`."""
    whole = round(seconds)
    minutes, seconds_left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds_left:02}" if hours else f"{minutes}:{seconds_left:02}"
