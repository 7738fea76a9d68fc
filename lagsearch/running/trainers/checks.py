"""What can be wrong with a trainer of the user's own, found before anything is trained."""

import os
import shlex
import shutil
from collections.abc import Callable

from lagsearch.errors import CurvesError, TrainerError
from lagsearch.planning.stage import StagePlan
from lagsearch.records.logged_losses import check_library
from lagsearch.running.trainers.advance import load_function
from lagsearch.space import StageFile, Trainer


def check_trainer(file: StageFile, plan: StagePlan, say: Callable[[str], None]) -> None:
    """Check that the trainer of a space is there, and that all candidates can be handed to it.

    On a cluster (RAY_ADDRESS) its program may be on other nodes alone.

    Args:
        file: The space.
        plan: Its candidates.
        say: Is told in a line what a user should know.

    Raises:
        SpaceError: It is not, or one cannot.
    """
    trainer = file.space.trainer
    if trainer is None:
        return
    _check_imports(file, trainer)
    commands = {
        ("trainer", "command"): trainer.command,
        ("trainer", "resume"): trainer.resume,
        ("trainer", "checkpoints", "export"): trainer.checkpoints.export,
    }
    for at, command in commands.items():
        program = shlex.split(command)[0] if command else "{python}"
        is_here = program == "{python}" or shutil.which(program) is not None
        if not is_here and not os.environ.get("RAY_ADDRESS"):
            raise file.error(at, f"{program} is no program that can be run here")
    for each in plan.candidates:
        if each.candidate.plan.ramp_end:
            message = f"{each.name} is faded in, which only lagsearch's own loop can"
            raise file.error(("candidates",), message)
    if trainer.evaluate == "lagsearch" and file.space.data.validation.fraction is not None:
        say(
            "trainer: losses are measured on a fraction of data.train, which a trainer that reads "
            "the same files trains on; give data.validation files of its own"
        )


def _check_imports(file: StageFile, trainer: Trainer) -> None:
    """Check that its function, and what reads its losses, can be imported."""
    try:
        if trainer.python is not None:
            load_function(trainer.python)
        if trainer.losses is not None:
            check_library(trainer.losses.format)
    except TrainerError as error:
        raise file.error(("trainer", "python"), str(error)) from None
    except CurvesError as error:
        raise file.error(("trainer", "losses", "format"), str(error)) from None
