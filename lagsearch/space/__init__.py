"""YAML to frozen objects to the list of candidates. No torch, no ray."""

from lagsearch.space.asked import AskedTask, asked_tasks, chosen_candidates, matching
from lagsearch.space.candidates import Entry, expand
from lagsearch.space.ladder import annealed_steps, evaluation_steps, log_ladder
from lagsearch.space.overrides import read_yaml
from lagsearch.space.reading import (
    SpaceFile,
    dump_space,
    dump_yaml,
    load_space,
    with_flags,
    written_out,
)
from lagsearch.space.schema import (
    Corpus,
    Data,
    Evaluation,
    Harness,
    Ingredient,
    Objective,
    Optimizer,
    Origin,
    Pretrain,
    Resources,
    Schedule,
    Search,
    Source,
    Space,
    TrainBpe,
    Training,
    Validation,
)

__all__ = [
    "AskedTask",
    "Corpus",
    "Data",
    "Entry",
    "Evaluation",
    "Harness",
    "Ingredient",
    "Objective",
    "Optimizer",
    "Origin",
    "Pretrain",
    "Resources",
    "Schedule",
    "Search",
    "Source",
    "Space",
    "SpaceFile",
    "TrainBpe",
    "Training",
    "Validation",
    "annealed_steps",
    "asked_tasks",
    "chosen_candidates",
    "dump_space",
    "dump_yaml",
    "evaluation_steps",
    "expand",
    "load_space",
    "log_ladder",
    "matching",
    "read_yaml",
    "with_flags",
    "written_out",
]
