"""YAML to frozen objects to the list of candidates. No torch, no ray."""

from lagsearch.space.candidates import Entry, expand
from lagsearch.space.ladder import evaluation_steps, log_ladder
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
    "Corpus",
    "Data",
    "Entry",
    "Evaluation",
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
    "dump_space",
    "dump_yaml",
    "evaluation_steps",
    "expand",
    "load_space",
    "log_ladder",
    "read_yaml",
    "with_flags",
    "written_out",
]
