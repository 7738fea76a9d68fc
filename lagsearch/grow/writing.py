"""The grown checkpoint, written file to file."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagsearch.display.watch import Watch
from lagsearch.errors import RunFolderError
from lagsearch.grow.card import write_grown_card
from lagsearch.grow.growth import PROBE, Growth, Measurement
from lagsearch.grow.shards import Make, WrittenTensor, write_shards
from lagsearch.models.files import copy_along
from lagsearch.models.headers import TYPES, most_common_type
from lagsearch.models.tabled_configs import TabledConfig
from lagsearch.operators import GrowthPlan
from lagsearch.storage.files import appearing

_TELL_EVERY_S = 2.0

_EQUAL_COPIES = (
    "copied units get equal gradients, and stay equal in training unless dropout, or a setting of "
    "the operator (noise, split=uneven), tells them apart"
)


@dataclass(frozen=True)
class Grown:
    """What came of a growth.

    Attributes:
        folder: The grown checkpoint.
        layer_map: Its layers drawn.
        parameters: Tied ones once.
        measured: What a comparison of outputs before and after says, or why there is none.
        written_bytes: Size of its weights.
        writing_s: Seconds of writing them.
        warnings: What a user should know of what was read and grown.
    """

    folder: Path
    layer_map: str
    parameters: int
    measured: Measurement
    written_bytes: int
    writing_s: float
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """Say it in lines."""
        found = self.measured
        words = found.words
        if found.difference is not None and found.scale is not None:
            rows, length = PROBE
            words = (
                f"max |difference of {found.compared}| {found.difference:.3g} on {rows} x {length} "
                f"seeded tokens ({found.compared} up to {found.scale:.3g}): {words}"
            )
        size = f"{self.written_bytes / 2**20:,.0f} MiB in {self.writing_s:,.2f} s"
        return (
            f"Layers: {self.layer_map}\nParameters: {self.parameters:,}\n"
            f"Function: {words}.\nWritten: {size}\nCheckpoint: {self.folder}"
            + "".join(f"\nWarning: {each}" for each in self.warnings)
        )


def check_free(out: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        RunFolderError: The folder is there already.
    """
    if out.exists():
        raise RunFolderError(f"{out}: is there already; choose another folder with --out")


@dataclass(frozen=True)
class _Job:
    """What is written.

    Attributes:
        groups: Tensors, in groups that stay together.
        parameters: Tied ones once.
        save_config: Writes the configuration to a folder.
        make: Makes the tensors that are not copied.
        notes: What a user should know of what is read.
    """

    groups: Sequence[Sequence[WrittenTensor]]
    parameters: int
    save_config: Callable[[Path], None]
    make: Make | None = None
    notes: tuple[str, ...] = ()


def grow(
    growth: Growth,
    out: Path,
    *,
    seed: int = 0,
    allow_pickle: bool = False,
    measure: bool | None = None,
    watch: Watch | None = None,
) -> Grown:
    """Write the grown checkpoint in the sources' types, and compare outputs before and after.

    The checkpoint appears in one move when it is complete. What is only copied goes from file to
    file; of what is made, a layer is in memory, and the one before it while it is written. Nothing
    waits until it is on the disk: the sources are still there, and so is the command.

    Args:
        growth: What is grown into what.
        out: Folder that is made for it.
        seed: Of random weights and noise.
        allow_pickle: Read `*.bin` where there is no safetensors, with `weights_only`.
        measure: Whether outputs are compared; if left out, where the growth claims to be exact.
        watch: Is told how far it is.

    Raises:
        RunFolderError: `out` is there already.
        ModelError: A source lacks what is copied, or has what is no number or would be lost.
    """
    watch = watch or Watch()
    check_free(out)
    job = _tabled(growth, seed) or _making(growth, seed, allow_pickle=allow_pickle)
    total = sum(each.size for group in job.groups for each in group)
    with appearing(out, is_lasting=False) as making:
        making.mkdir()
        began = time.perf_counter()
        told = began
        for written in write_shards(making, job.groups, job.make):
            if time.perf_counter() - told > _TELL_EVERY_S:
                watch.say(f"written {written / 2**20:,.0f} of {total / 2**20:,.0f} MiB")
                told = time.perf_counter()
        job.save_config(making)
        copy_along(growth.sources[0], making)
        writing_s = time.perf_counter() - began
        measured = _measured(growth, making, measure, watch, allow_pickle=allow_pickle)
        is_compared = measured.difference is not None
        function = measured.words if is_compared else "outputs were not compared with the source's"
        write_grown_card(growth, making, function)
    warnings = (*job.notes, *([growth.plan.warning] if growth.plan.warning else ()))
    warnings += (_EQUAL_COPIES,) if _keeps_copies_equal(growth.plan) else ()
    layers = growth.plan.layer_map()
    return Grown(out, layers, job.parameters, measured, total, writing_s, warnings)


def _keeps_copies_equal(plan: GrowthPlan) -> bool:
    return plan.width is not None and plan.width.keeps_copies_equal and not plan.noise


def _tabled(growth: Growth, seed: int) -> _Job | None:
    """Return what is written where tables say all of it; torch is needed where any is made."""
    entries, config = growth.entries, growth.config
    if entries is None or not isinstance(config, TabledConfig):
        return None
    usual = TYPES[most_common_type(each.dtype for each in entries)]

    def make(chosen: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        from lagsearch.grow.filling import TabledMaking  # torch, while others copy

        return TabledMaking(growth, seed).make(chosen)

    return _Job(
        [[each] for each in entries],
        sum(math.prod(each.shape) for each in entries),
        lambda folder: config.save(folder, usual),
        make,
    )


def _making(growth: Growth, seed: int, *, allow_pickle: bool) -> _Job:
    """Return what is written as the model that transformers builds needs it."""
    from lagsearch.grow.making import Making, open_sources

    sources = open_sources(growth, allow_pickle=allow_pickle)
    making = Making(growth, sources, seed)
    notes = tuple(note for each in sources for note in each.notes)
    return _Job(making.entries(), making.parameters, making.save_config, making.make, notes)


def _measured(
    growth: Growth, out: Path, measure: bool | None, watch: Watch, *, allow_pickle: bool
) -> Measurement:
    """Compare outputs before and after, where that is asked for or the growth claims much."""
    if measure is None and not growth.claims_exact:
        claim = "this growth does not claim to preserve it"
        return Measurement(words=f"not measured: {claim}; --measure compares outputs")
    if measure is False:
        return Measurement(words="not measured")
    from lagsearch.grow.making import open_sources
    from lagsearch.grow.measuring import compare_function

    watch.say("comparing with the source")
    return compare_function(growth, open_sources(growth, allow_pickle=allow_pickle), out)
