"""Batches, steps and K that fit a text, a machine and the time that one has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from lagsearch.data.tokens.store import ValidationSize, size_within
from lagsearch.data.tokens.writing import STRETCH, held_out_tokens
from lagsearch.errors import counted
from lagsearch.init.speed import Speed
from lagsearch.selection.forecast import WINDOW
from lagsearch.selection.outlook import EARLIEST
from lagsearch.space import first_batches, log_ladder

MOST_PASSES = 8
"""Passes over the text beyond which small models learn it by heart."""

FEWEST_STEPS = 60
"""Steps below which a ranking says nothing."""

MOST_STEPS = 800_000
"""Steps beyond which nothing is chosen, however long the text and the time."""


FEWEST_TOKENS = 3200
"""Tokens of a text below which there is nothing to train on: 200 sequences of 16."""

OVERHEAD_S = 45.0
"""Seconds of starting, of the report and of saving the winner."""

MARGIN = 1.25
"""What other processes, evaluation batches and the search itself take beyond bare steps."""

_SHORTEST, _LONGEST = 16, {"cuda": 1024, "cpu": 256}  # tokens of a sequence
_FEWEST_ROWS, _MOST_TOKENS = 4, {"cuda": 65_536, "cpu": 4_096}  # of a step
_STEPS_IN_A_TEXT = 40
_MOST_BATCHES = 16

_LAG_SHARE = 4
"""K is a quarter of the final step: recorded runs are ranked well from there on."""

TELLING_STEPS = _LAG_SHARE * EARLIEST
"""Steps below which K is so early that a ranking there tells little."""


@dataclass(frozen=True)
class Shape:
    """What a step holds.

    Attributes:
        sequence_length: Tokens in a sequence.
        batch_size: Sequences in a step.
        fraction: Share of the text that is held out to measure losses on.
        batches: Validation batches.
    """

    sequence_length: int
    batch_size: int
    fraction: float
    batches: int

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.sequence_length * self.batch_size

    def why_length(self, longest: int, device: str) -> str:
        """Say why sequences are as long as they are, of a model's longest, in words."""
        most, fitting = _LONGEST[device], _power(longest)
        if self.sequence_length >= most:
            return f"tokens, as many as init chooses on a {'GPU' if device == 'cuda' else 'CPU'}"
        if self.sequence_length >= fitting:
            return f"tokens; the model has {longest:,} positions"
        if self.sequence_length > _SHORTEST:
            return "tokens, so that the text has 200 sequences"
        return "tokens, the fewest that init chooses"

    def why_rows(self, device: str) -> str:
        """Say why a step has as many sequences as it has, in words."""
        told = f"sequences in a step: {self.tokens:,} tokens"
        if self.batch_size == _FEWEST_ROWS:
            return f"{told}, the fewest that init chooses"
        is_most = self.tokens * 2 > _MOST_TOKENS[device]
        fewer = f"fewer than {_MOST_TOKENS[device]:,}, for more steps"
        return f"{told}, {'as many as init chooses' if is_most else fewer}"


@dataclass(frozen=True)
class Work:
    """What a search trains, in training FLOPs of a token.

    Attributes:
        candidates: Growths.
        target: Of one of them.
        source: Of the source, which is trained on beside them.
    """

    candidates: int
    target: float
    source: float


@dataclass(frozen=True)
class Length:
    """How long is trained.

    Attributes:
        steps: The final step.
        lag: K.
        seconds: All of it, estimated.
        why: Why it is neither longer nor shorter, in words.
        is_hurried: Whether more time would make it longer.
    """

    steps: int
    lag: int
    seconds: float
    why: str
    is_hurried: bool


def shapes(tokens: int, longest: int, device: str) -> Iterator[Shape]:
    """Yield shapes of a step that fit a text, the largest first; none where it is too short.

    A text holds 200 sequences at least, and 40 steps where steps of four sequences can be so many.

    Args:
        tokens: Of the text.
        longest: Tokens that a sequence of the model may have.
        device: `cpu` or `cuda`.
    """
    if tokens < FEWEST_TOKENS:
        return
    length = _power(min(longest, _LONGEST[device]))
    while length > _SHORTEST and tokens < 200 * length:
        length //= 2
    fraction = fraction_of(tokens)
    held_out = held_out_tokens(tokens, fraction)
    rows = max(_FEWEST_ROWS, _MOST_TOKENS[device] // length)
    while rows >= _FEWEST_ROWS:
        if rows == _FEWEST_ROWS or rows * length * _STEPS_IN_A_TEXT <= tokens:
            wanted = ValidationSize(_MOST_BATCHES, rows)
            size = size_within([held_out], [1.0], length, wanted)
            assert size is not None, "the text is long enough for the sequences"
            yield Shape(length, rows, fraction, size.batches)
        rows //= 2


def _power(length: int) -> int:
    """Return the largest power of two that is no longer."""
    return 1 << (length.bit_length() - 1)


def fraction_of(tokens: int) -> float:
    """Return the share of a text to hold out: two digits that come to what a run takes.

    A run holds out whole stretches, of a short text a quarter at most.
    """
    share = 0.05 if tokens > 500_000 else 0.1 if tokens > 100_000 else 0.2
    stretches = tokens // STRETCH
    if stretches * share < 1:
        return ceil(100 * held_out_tokens(tokens, share) / tokens) / 100
    wanted = round(stretches * share)
    return next(each / 100 for each in range(1, 100) if int(stretches * (each / 100)) >= wanted)


def longest(shape: Shape, tokens: int, work: Work, speed: Speed, budget_s: float) -> Length:
    """Return the most steps that fit the time, and the text.

    Args:
        shape: What a step holds.
        tokens: Of the text.
        work: What is trained.
        speed: How fast.
        budget_s: Seconds that one has.
    """
    most, every = most_steps(shape, tokens), list(_round_numbers())
    fitting = [steps for steps in every if FEWEST_STEPS <= steps <= most]
    in_time = [steps for steps in fitting if seconds(steps, shape, work, speed) <= budget_s]
    best, is_hurried = max(in_time, default=fitting[0]), len(in_time) < len(fitting)
    passes = best * shape.tokens / (tokens * (1 - shape.fraction))
    if not in_time:
        why = f"the fewest that can rank; they take longer than {_duration(budget_s)}"
    elif is_hurried:
        why = f"limited by the time, {_duration(budget_s)}"
    elif passes > MOST_PASSES:
        why = f"the fewest that can rank; they are {passes:.0f} passes over the text"
    elif best == MOST_STEPS:
        why = "the most that init chooses"
    else:
        why = f"limited by {MOST_PASSES} passes over the text"
    return _length(best, shape, work, speed, why, is_hurried=is_hurried)


def best_place(lengths: Sequence[Length], budget_s: float) -> int:
    """Return the place of the one of most steps.

    Of equal ones it is the first, and of those that take longer than one has, the shortest.
    """
    return min(
        range(len(lengths)),
        key=lambda place: (-lengths[place].steps, max(lengths[place].seconds, budget_s)),
    )


def _duration(budget_s: float) -> str:
    """Write what a run may take."""
    if budget_s >= 5400:
        return f"{budget_s / 3600:.4g} hours"
    is_short = budget_s < 90
    return (
        counted(round(budget_s), "second") if is_short else counted(round(budget_s / 60), "minute")
    )


def most_steps(shape: Shape, tokens: int) -> int:
    """Return the most steps that a text is enough for."""
    train = tokens * (1 - shape.fraction)
    return max(FEWEST_STEPS, int(MOST_PASSES * train / shape.tokens))


def seconds(steps: int, shape: Shape, work: Work, speed: Speed) -> float:
    """Estimate the seconds of a whole run: search, winner, and the source trained on."""
    lag = lag_of(steps)
    token_s = shape.tokens / speed.flops_per_s
    to_lag, after = _evaluations(shape.batches, log_ladder(steps), lag)
    search = ceil((work.candidates + 1) / speed.slots) * (lag + to_lag) * work.target
    rest = (steps - lag + after) * (work.target + work.source)
    return OVERHEAD_S + MARGIN * token_s * (search + rest)


def _evaluations(batches: int, ladder: Sequence[int], lag: int) -> tuple[float, float]:
    """Return what evaluations up to K and after it cost, in training steps of three passes."""
    measured = [first_batches(batches) if 0 < step < lag / WINDOW else batches for step in ladder]
    to_lag = sum(step <= lag for step in ladder)
    return sum(measured[:to_lag]) / 3, sum(measured[to_lag:]) / 3


def lag_of(steps: int) -> int:
    """Return K for a number of steps."""
    return max(1, steps // _LAG_SHARE)


def _length(
    steps: int, shape: Shape, work: Work, speed: Speed, why: str, *, is_hurried: bool
) -> Length:
    took = seconds(steps, shape, work, speed)
    return Length(steps, lag_of(steps), took, why, is_hurried)


def _round_numbers() -> Iterator[int]:
    """Yield 60, 80, 100, 120, 160, 200, 240, 320, 400, 500, 600, 800, 1000 and so on."""
    yield from (60, 80)
    power = 100
    while power <= MOST_STEPS:
        yield from (power * factor // 100 for factor in (100, 120, 160, 200, 240, 320, 400))
        yield from (power * factor // 100 for factor in (500, 600, 800))
        power *= 10
