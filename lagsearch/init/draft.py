"""From checkpoint, text and machine to a space as plain values, with the reason for each."""

from dataclasses import dataclass, replace
from math import ceil, prod

from lagsearch.data.tokens.writing import held_out_tokens
from lagsearch.display.watch import Watch
from lagsearch.errors import DataError, ResourceError
from lagsearch.init.checkpoint import SourceCheckpoint, rate_of
from lagsearch.init.growths import Growths, Plain, deeper, find_growths, wider
from lagsearch.init.sizes import (
    FEWEST_STEPS,
    FEWEST_TOKENS,
    MOST_STEPS,
    TELLING_STEPS,
    Length,
    Shape,
    Work,
    best_place,
    lag_of,
    longest,
    most_steps,
    seconds,
    shapes,
)
from lagsearch.init.speed import Load, Speed, seconds_per_step
from lagsearch.init.text import MeasuredText
from lagsearch.init.wording import about
from lagsearch.models.build import empty_model, usable_positions
from lagsearch.models.configs import stored_name
from lagsearch.planning.stage import MUCH_EVALUATED, StagePlan
from lagsearch.running.workers.slots import assign_slots
from lagsearch.space import Resources

_ENOUGH_STEPS = 400
"""Steps from which on a larger batch is worth more than more steps."""

_MEASURED_BYTES = 4 << 30
"""A model that needs more memory than this is not trained for a measurement."""

_GUESSED_FLOPS_PER_S = {"cpu": 3e10, "cuda": 5e13}


@dataclass(frozen=True)
class Draft:
    """A space before it is written down.

    Attributes:
        parts: The space as plain values, in the order of the file, without its candidates.
        notes: Reasons, by the key that they stand behind.
        growths: The candidates.
        length: Steps, K, and how long that takes.
        warnings: What a user should know before running it, in lines.
        options: What `lagsearch run` is to be given where longer training is advised.
    """

    parts: Plain
    notes: dict[str, str]
    growths: Growths
    length: Length
    warnings: tuple[str, ...]
    options: str = ""


def make_draft(
    checkpoint: SourceCheckpoint,
    text: MeasuredText,
    target: Plain,
    hours: float,
    name: str,
    watch: Watch,
) -> Draft:
    """Decide on everything in a space.

    Args:
        checkpoint: What is grown.
        text: What is trained on.
        target: Its configuration keys that differ.
        hours: Hours that the search may take.
        name: Of the space.
        watch: Is told what goes on.

    Raises:
        LagsearchError: Target or text cannot be.
    """
    positions, device = _most_positions(checkpoint), _device()
    fitting = _shapes(text, positions, device)
    watch.passing("looking for the growths that fit")
    plain = {"name": name, **_plain(checkpoint, text, target)}
    growths = find_growths(_sized(plain, fitting[-1], None, {}))
    watch.passing("measuring how fast this machine trains the target")
    speed, is_measured = _speed(growths, checkpoint, fitting[-1])
    work = _work(growths, fitting[-1])
    lengths = [longest(each, text.tokens, work, speed, hours * 3600) for each in fitting]
    enough = [place for place, each in enumerate(lengths) if each.steps >= _ENOUGH_STEPS]
    place = enough[0] if enough else best_place(lengths, hours * 3600)
    shape, length = fitting[place], lengths[place]
    rate = rate_of(checkpoint)
    warmup = max(1, length.steps // 20)
    training = {
        "optimizer": {"name": "adamw", "lr": rate.value, "weight_decay": 0.1},
        "schedule": {"name": "cosine", "warmup_steps": warmup, "final_fraction": 0.1},
    }
    notes = {
        "data.train": _train_note(text),
        "data.validation": f"{'' if text.is_exact else 'about '}"
        f"{held_out_tokens(text.tokens, shape.fraction):,} tokens are held out",
        "target": f"{checkpoint.name} has {_now(checkpoint, target)}",
        "data.sequence_length": shape.why_length(positions, device),
        "training.steps": f"after growth, for the winner: {length.why}",
        "training.batch_size": shape.why_rows(device),
        "training.optimizer": f"lr: {rate.why}",
        "training.schedule": "the rate rises again from zero, then falls to a tenth",
        "search.lag": "K: candidates are ranked after a quarter of the steps",
    }
    warnings = _warnings(length, hours, is_measured=is_measured)
    parts = _sized(plain, shape, length, training)
    more = min(TELLING_STEPS, most_steps(shape, text.tokens))
    if length.steps >= more or not length.is_hurried:
        return Draft(parts, notes, growths, length, warnings)
    options = f" --set training.steps={more} --lag {lag_of(more)}"
    warnings += (_too_few(length, options, seconds(more, shape, work, speed)),)
    return Draft(parts, notes, growths, length, warnings, options)


def measured_cheaply(draft: Draft, plan: StagePlan) -> Draft:
    """Return a draft whose evaluations cost little beside its search, as its plan counts that.

    Args:
        draft: The space.
        plan: What it comes to.
    """
    if (size := plan.cheaper_validation()) is None:
        return draft
    batches, tokens = size[0], prod(size) * plan.space.data.sequence_length
    parts = {**draft.parts, "evaluation": {"batches": batches, "tokens": tokens}}
    why = f"so that evaluations cost at most {MUCH_EVALUATED:.0%} of the search's training"
    return replace(draft, parts=parts, notes={**draft.notes, "evaluation": why})


def target_of(checkpoint: SourceCheckpoint, layers: int | None, hidden: int | None) -> Plain:
    """Return the configuration keys of the target that differ from the checkpoint's.

    Args:
        checkpoint: What is grown.
        layers: The target's; where neither is given, half as many more.
        hidden: The target's width.

    Raises:
        ModelError: The target cannot be.
    """
    target = wider(checkpoint, hidden) if hidden else {}
    return target if hidden and not layers else {**deeper(checkpoint, layers), **target}


def space_name(checkpoint: SourceCheckpoint, target: Plain) -> str:
    """Return the name of a space that grows a checkpoint to a target: its depth, its width."""
    depth = stored_name(checkpoint.config, "num_hidden_layers")
    width = next((value for key, value in target.items() if key != depth), None)
    sizes = [each for each in (target.get(depth), width) if each is not None]
    return f"{checkpoint.name}-to-{'x'.join(map(str, sizes))}"


def _most_positions(checkpoint: SourceCheckpoint) -> int:
    model = empty_model(checkpoint.config, checkpoint.kind)
    return usable_positions(model, checkpoint.config) or 1 << 20


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _shapes(text: MeasuredText, positions: int, device: str) -> list[Shape]:
    found = list(shapes(text.tokens, positions, device))
    if not found:
        raise DataError(
            f"{text.name}: {text.tokens:,} tokens are too few to train on; give at least "
            f"{FEWEST_TOKENS:,}, better a million (about 4 MB of text)"
        )
    return found


def _plain(checkpoint: SourceCheckpoint, text: MeasuredText, target: Plain) -> Plain:
    """Return what depends neither on the machine nor on the batch."""
    return {
        "seed": 0,
        "data": {"train": text.train},
        "objective": {"name": checkpoint.kind},
        "sources": [{"name": checkpoint.name, "checkpoint": checkpoint.written}],
        "target": target,
    }


def _sized(plain: Plain, shape: Shape, length: Length | None, training: Plain) -> Plain:
    """Return a space with its batches, steps and K."""
    steps, lag = (length.steps, length.lag) if length else (FEWEST_STEPS, 1)
    data = {
        **plain["data"],
        "validation": {"fraction": shape.fraction},
        "sequence_length": shape.sequence_length,
    }
    return {
        **plain,
        "data": data,
        "training": {"steps": steps, "batch_size": shape.batch_size, **training},
        "evaluation": {"batches": shape.batches},
        "search": {"lag": lag},
    }


def _work(growths: Growths, shape: Shape) -> Work:
    costs = [each.cost.flops_per_step for each in growths.planned]
    source = growths.planner.sources[0].cost.flops_per_step
    return Work(len(costs), max(costs) / shape.tokens, source / shape.tokens)


def _speed(growths: Growths, checkpoint: SourceCheckpoint, shape: Shape) -> tuple[Speed, bool]:
    """Return how fast candidates are trained, and whether that was measured."""
    largest = max(growths.planned, key=lambda each: each.cost.flops_per_step)
    compute, slots = assign_slots(
        Resources(), "auto", [each.cost.memory_bytes for each in growths.planned]
    )
    memory = largest.cost.memory_bytes
    guessed = Speed(_GUESSED_FLOPS_PER_S[compute.device], slots.number), False
    if memory is None or memory > _MEASURED_BYTES:
        return guessed
    load = Load(
        largest.config,
        checkpoint.kind,
        *(shape.batch_size, shape.sequence_length),
        *(compute.device, compute.threads),
    )
    # on a GPU one is measured alone: those that share it have a part of its speed at worst
    on_one = ceil(1 / slots.gpus) if 0 < slots.gpus < 1 else 1
    at_once = 1 if slots.gpus else min(slots.number, len(growths.planned) + 1)
    try:
        seconds = seconds_per_step(load, at_once)
    except ResourceError:
        return guessed
    return Speed(largest.cost.flops_per_step / seconds / on_one, slots.number), True


def _train_note(text: MeasuredText) -> str:
    note = f"{'' if text.is_exact else 'about '}{text.tokens:,} tokens"
    if "column" in text.train:
        return f"{note}; column: the key of a record that holds its text"
    if text.is_plain:
        return f"{note}; {{files: [...], documents: lines}} if each line is a document"
    return note


def _now(checkpoint: SourceCheckpoint, target: Plain) -> str:
    own = checkpoint.config.to_dict()
    return ", ".join(f"{own.get(key)}" for key in target) + " now"


def _too_few(length: Length, options: str, took_s: float) -> str:
    return (
        f"K = {length.lag} of {length.steps} steps is so early that a ranking there tells little: "
        f"run it with{options}, {about(took_s)} on this machine as it is now."
    )


def _warnings(length: Length, hours: float, *, is_measured: bool) -> tuple[str, ...]:
    found = []
    if not is_measured:
        found.append(
            "The target could not be measured here: the time is a guess. `lagsearch plan` says "
            "what memory it needs."
        )
    if not length.is_hurried and length.seconds < hours * 1800:
        more = " More text would use more of the time." if length.steps < MOST_STEPS else ""
        found.append(
            f"This takes less than half of --hours {hours:g}: {length.steps:,} steps, "
            f"{length.why}.{more}"
        )
    if length.seconds > hours * 3600 * 1.05:
        found.append(
            f"This takes longer than the {hours:g} hours that it may take (--hours): fewer than "
            f"{FEWEST_STEPS} steps would rank nothing."
        )
    return tuple(found)
