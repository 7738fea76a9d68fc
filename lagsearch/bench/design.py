"""What the benchmark consists of: a table of settings, each of which is run once in each half.

Rules and constants are chosen on the half `choice` alone; the half `test` is read by `lagsearch
bench test`, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lagsearch.errors import LagsearchError

Half = Literal["choice", "test"]
HALVES: tuple[Half, Half] = ("choice", "test")

TEXTS: dict[str, tuple[str, str]] = {
    "verse": ("tinyshakespeare", "milton"),
    "prose": ("wikitext2", "tinystories"),
    "code": ("python-stdlib", "sympy"),
    "other": ("cython", "kjv"),
}
"""By the word in the table: the text in the half `choice`, and that in the half `test`."""

FAMILIES: dict[str, tuple[str, str]] = {
    "llama": ("llama", "llama"),
    "gpt2": ("gpt2", "gpt2"),
    "bert": ("bert", "bert"),
    "new": ("qwen3", "neox"),
}
"""The same for the family of models."""

SPLIT = (
    "A text belongs to one half alone. Those of the runs that this tool's rules were thought up on "
    "(Tiny Shakespeare, WikiText-2, Python's library) are in the half choice, with Cython's C. Of "
    "those in the half test (Milton, TinyStories, SymPy, King James Bible) TinyStories alone had "
    "been searched on, in one run. LLaMA, GPT-2 and BERT are in both halves, Qwen3 in choice "
    "alone, NeoX in test alone. Every setting of the table is run once in each half."
)
"""The rule by which runs were set aside, written down before the first was made."""

STORIES = "stories260K"
"""The really trained source: a folder that `bench make --files` has; 5 layers, 64 wide."""

# tokens: characters, bytes, a vocabulary of byte pairs, or the checkpoint's own.
# source and target: layers x width; a factor before the source is the number of sources.
# trained: the source's steps. steps: the final step. batch: sequences x tokens a step.
# rate: `constant`, of source and growth; `decaying`, a cosine after growth; `continued`, one cosine
# over both; `rewarmed`, a cosine for the source, and after growth another, with a warm-up.
# state: the optimizer's, kept or reset. seeds: 2v trains the sources anew under each.
_TABLE = """
text  tokens     objective family source target growths trained steps batch lr   rate      state seeds
verse characters causal    llama  4x32   8x32   depth   1500    320   8x64  2e-3 constant  keep  2
prose 512        causal    new    4x48   8x48   depth   1500    240   8x64  2e-3 rewarmed  keep  2
code  bytes      causal    llama  3x48   6x48   depth   600     320   16x64 2e-3 decaying  keep  2
other bytes      causal    gpt2   6x48   8x48   depth   1500    240   8x64  2e-3 constant  keep  2
verse bytes      causal    gpt2   3x32   6x32   depth   150     240   8x64  2e-3 decaying  keep  2v
prose 512        masked    bert   4x48   6x48   depth   1500    240   8x64  2e-3 constant  keep  1
code  bytes      causal    new    2x32   8x32   depth   1500    240   8x64  2e-3 decaying  keep  1
other bytes      causal    llama  4x48   6x48   depth   150     240   16x32 2e-3 rewarmed  keep  1
verse bytes      causal    llama  6x32   8x32   depth   600     320   4x64  1e-3 constant  reset 1
prose own        causal    llama  5x64   8x64   depth   really  240   4x128 5e-4 decaying  reset 2
code  512        ul2       llama  4x32   6x32   depth   1500    240   8x64  2e-3 constant  keep  2v
other characters causal    llama  4x32   8x32   depth   600     640   4x64  2e-3 decaying  keep  1
verse bytes      masked    bert   3x48   6x48   depth   1500    240   8x64  2e-3 decaying  keep  2
prose 512        causal    gpt2   2x48   8x48   depth   150     240   8x64  2e-3 constant  keep  2
code  512        causal    gpt2   4x32   4x64   width   600     240   8x64  2e-3 decaying  reset 2
other 512        causal    new    4x32   6x64   both    600     240   8x64  2e-3 continued keep  2
verse 512        causal    new    3x32   3x64   width   600     240   8x64  2e-3 constant  keep  1
prose 512        ul2       llama  4x32   6x64   both    600     240   8x64  2e-3 decaying  keep  1
code  bytes      masked    bert   3x32   3x64   width   1500    240   8x64  2e-3 constant  keep  1
other 512        masked    bert   4x48   8x48   depth   150     240   8x64  2e-3 rewarmed  keep  1
verse bytes      causal    gpt2   3*2x32 6x32   several 600     240   8x64  2e-3 constant  keep  1
prose 512        causal    llama  2*2x32 4x32   several 600     240   8x64  2e-3 decaying  reset 2v
code  512        causal    llama  3x32   6x64   both    150     240   8x64  2e-3 constant  keep  1
other 512        causal    llama  4x48   4x64   width   1500    240   8x64  2e-3 constant  keep  2
verse characters ul2       llama  4x32   6x64   both    1500    240   8x64  2e-3 rewarmed  keep  2
prose bytes      causal    llama  4x32   4x64   learned 600     240   8x64  2e-3 decaying  reset 1
code  bytes      causal    gpt2   3x32   6x32   learned 600     240   8x64  1e-3 constant  reset 2
other 512        causal    new    3x48   9x48   depth   1500    240   8x64  5e-4 continued reset 2v
"""  # noqa: E501 (a table)


@dataclass(frozen=True)
class Design:
    """One run of the benchmark.

    Attributes:
        number: Of its setting in the table, from 1.
        half: `choice` or `test`.
        text: Its text's name.
        tokens: Its tokenizer, as in the table.
        objective: What is predicted.
        family: The family of models.
        n_sources: Sources that are grown into one.
        source: Layers and width of each.
        target: Layers and width.
        growths: What kind of growths are compared.
        trained: The source's steps; None where it is a checkpoint.
        steps: Completion.
        batch: Sequences in a step.
        length: Tokens in a sequence.
        lr: Peak rate.
        rate: How the rate goes, as in the table.
        state: What becomes of the optimizer's state.
        n_seeds: Seeds that every candidate is trained under.
        varies_sources: Whether the sources are trained anew under each.
    """

    number: int
    half: Half
    text: str
    tokens: str
    objective: str
    family: str
    n_sources: int
    source: tuple[int, int]
    target: tuple[int, int]
    growths: str
    trained: int | None
    steps: int
    batch: int
    length: int
    lr: float
    rate: str
    state: str
    n_seeds: int
    varies_sources: bool

    @property
    def name(self) -> str:
        """Its name, and that of its run folder."""
        sizes = "{}x{}".format(*self.source), "{}x{}".format(*self.target)
        return "-".join([self.half, f"{self.number:02}", self.text, self.family, *sizes])

    @property
    def is_from_checkpoint(self) -> bool:
        """Whether its source is one that the benchmark does not train."""
        return self.trained is None


def designs() -> list[Design]:
    """Return all runs of the benchmark, in the order that they are made in: halves take turns."""
    header, *rows = [line.split() for line in _TABLE.strip().splitlines()]
    return [
        _design(number, half, dict(zip(header, row, strict=True)))
        for number, row in enumerate(rows, start=1)
        for half in HALVES
    ]


def split() -> dict[str, Any]:
    """Return which run belongs to which half, as the manifest has it."""
    return {
        "split": SPLIT,
        "runs": [{"run": each.name, **facts_of(each)} for each in designs()],
    }


def facts_of(design: Design) -> dict[str, str]:
    """Return what the manifest says of a run before it is made."""
    return {"half": design.half, "text": design.text, "family": design.family}


def find_design(name: str) -> Design:
    """Look a run of the benchmark up.

    Raises:
        LagsearchError: There is none of that name.
    """
    found = {each.name: each for each in designs()}
    if name not in found:
        raise LagsearchError(f"bench: no run {name!r}; `lagsearch bench list` lists them")
    return found[name]


def chosen_designs(half: str | None, names: Sequence[str]) -> list[Design]:
    """Return the runs that are asked for, in the order that they are made in.

    Args:
        half: One of `HALVES`; both when left out.
        names: Of runs; all when empty.

    Raises:
        LagsearchError: There is no such half or run.
    """
    if half is not None and half not in HALVES:
        raise LagsearchError(f"--half {half}: write choice or test")
    asked = {find_design(name.strip()) for name in names}
    return [
        each for each in designs() if half in (None, each.half) and (each in asked or not asked)
    ]


def _design(number: int, half: Half, row: dict[str, str]) -> Design:
    place = HALVES.index(half)
    several, _, source = row["source"].rpartition("*")
    layers_width = tuple(int(each) for each in source.split("x"))
    target = tuple(int(each) for each in row["target"].split("x"))
    batch, length = (int(each) for each in row["batch"].split("x"))
    return Design(
        number=number,
        half=half,
        text=TEXTS[row["text"]][place],
        tokens=row["tokens"],
        objective=row["objective"],
        family=FAMILIES[row["family"]][place],
        n_sources=int(several or 1),
        source=(layers_width[0], layers_width[1]),
        target=(target[0], target[1]),
        growths=row["growths"],
        trained=None if row["trained"] == "really" else int(row["trained"]),
        steps=int(row["steps"]),
        batch=batch,
        length=length,
        lr=float(row["lr"]),
        rate=row["rate"],
        state=row["state"],
        n_seeds=int(row["seeds"][0]),
        varies_sources=row["seeds"].endswith("v"),
    )
