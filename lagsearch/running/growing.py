"""Candidates grown to Hugging Face folders: for a trainer of the user's own, or to be handed on."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lagsearch.grow import Growth, grow
from lagsearch.models.checkpoints import open_checkpoint
from lagsearch.models.configs import rebuild_config
from lagsearch.models.files import ALONG, TOKENIZER, copy_along
from lagsearch.models.tensors import TensorFile, save_checkpoint, write_tensors
from lagsearch.planning.planned import PlannedCandidate
from lagsearch.planning.stage import StagePlan
from lagsearch.storage.files import appearing
from lagsearch.training.growth import build, grow_job, optimizer_of
from lagsearch.training.job import Job
from lagsearch.training.optimizer import state_tensors
from lagsearch.training.state import AVERAGE, WEIGHT

MOMENTS = Path("training") / "optimizer.safetensors"
"""The optimizer's grown moments, in a checkpoint's folder: `exp_avg.<parameter>` and so on."""


def growth_on_disk(plan: StagePlan, planned: PlannedCandidate) -> Growth | None:
    """Return a candidate's growth from file to file, a tensor at a time.

    None where it takes a model in memory: an operator that is learned, a source that was trained
    here and has moments to grow, and new tokens.

    Args:
        plan: Its stage.
        planned: The candidate or baseline.
    """
    sources, grown = plan.sources, planned.candidate.plan
    folders = [each.checkpoint for each in sources if not each.n_tokens]
    if grown.learned is not None or len(folders) < len(sources) or None in folders:
        return None
    config = rebuild_config(planned.config)
    config.architectures = getattr(sources[0].config, "architectures", None)
    names = tuple(each.source.checkpoint or "" for each in sources)
    return Growth(names, tuple(each for each in folders if each is not None), grown, config)


@dataclass(frozen=True)
class Beside:
    """What a grown folder has beside grown weights, the same for all candidates of a space.

    Attributes:
        tokenizer: A folder with the space's tokenizer.
        like: The first source's checkpoint, whose type the weights have; None where a source is
            trained here: fp32.
    """

    tokenizer: Path
    like: Path | None = None

    @classmethod
    def of(cls, plan: StagePlan, tokenizer: Path) -> "Beside":
        """Return what the grown folders of a stage have."""
        folders = [each.checkpoint for each in plan.sources]
        return cls(tokenizer, None if None in folders else folders[0])


def grow_to_folder(
    job: Job, growth: Growth | None, beside: Beside, out: Path
) -> Generator[int, None, None]:
    """Write a job's model at step 0 as a Hugging Face folder; one that is there is left as it is.

    Args:
        job: Whose model.
        growth: The same from file to file, where that can be.
        beside: What the folder has beside.
        out: The folder.

    Yields:
        Steps of learning the operator so far, where it is learned.

    Raises:
        LagsearchError: It cannot be grown.
    """
    if out.is_dir():
        return
    with appearing(out) as making:
        if growth is not None:
            grow_on_disk(growth, job.init_seed, beside, making)
        else:
            yield from grow_in_memory(job, beside, making)


def grow_on_disk(growth: Growth, seed: int, beside: Beside, out: Path) -> None:
    """Write a growth from file to file, a tensor at a time; see `grow_to_folder`.

    Args:
        growth: The growth.
        seed: Of random weights.
        beside: See there.
        out: The folder.
    """
    grow(growth, out, seed=seed, measure=False)
    _put_tokenizer(beside.tokenizer, out)


def grow_in_memory(job: Job, beside: Beside, out: Path) -> Generator[int, None, None]:
    """Grow as the training does, with the optimizer's moments where the sources have any."""
    model: Any = build(job)
    optimizer = optimizer_of(job, model)
    yield from grow_job(replace(job, is_first_of_its_shape=False), model, optimizer)
    if beside.like is not None:
        model.to(open_checkpoint(beside.like, job.text.objective.kind).tensors.usual_type)
    save_checkpoint(model, out)
    keeps = job.training.optimizer_state != "reset"
    if keeps and any(_has_moments(path) for path in job.sources):
        (out / MOMENTS).parent.mkdir()
        write_tensors(out / MOMENTS, dict(state_tensors(optimizer, model)), {"step": "0"})
    _put_tokenizer(beside.tokenizer, out)
    if beside.like is not None:
        copy_along(beside.like, out, ALONG)


def _put_tokenizer(tokenizer: Path, out: Path) -> None:
    """Put a tokenizer in place of the one that is there.

    A `*.model` stays: it has the same vocabulary, and some trainers read nothing else.
    """
    for pattern in TOKENIZER:
        for path in out.glob(pattern):
            if path.suffix != ".model":
                path.unlink()
    copy_along(tokenizer, out, (*TOKENIZER, *ALONG))


def _has_moments(state: Path) -> bool:
    return any(not name.startswith((WEIGHT, AVERAGE)) for name in TensorFile(state))
