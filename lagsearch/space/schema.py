"""What a space file may say: every key, its type, its range and its default.

Defaults stand here and nowhere else. Unknown keys are errors.
"""

import re
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


def _is_tuple(field: FieldInfo) -> bool:
    """Return whether one of the types that a field may have is a tuple."""
    kinds = (field.annotation, *get_args(field.annotation))
    return any(tuple in (get_origin(each), *map(get_origin, get_args(each))) for each in kinds)


def _separators(value: Any) -> Any:
    """Read `true` and `false` of files from when a separator was there or not."""
    return {True: "eos", False: "none"}[value] if isinstance(value, bool) else value


Separators = Annotated[Literal["auto", "bos", "eos", "both", "none"], BeforeValidator(_separators)]


class StrictModel(BaseModel):
    """A part of the space: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _freeze(cls, given: Any) -> Any:
        """Take lists, as Python code and YAML have them, for the tuples that are kept."""
        if not isinstance(given, dict):
            return given
        kept = {each.alias or name for name, each in cls.model_fields.items() if _is_tuple(each)}
        return {
            key: tuple(value) if isinstance(value, list) and key in kept else value
            for key, value in given.items()
        }


class TextOrigin(StrictModel):
    """Where one text comes from: exactly one of `corpus`, `files` and `hub`."""

    corpus: Literal["python-stdlib"] | None = None
    """The embedded default: the source text of the running Python's standard library."""
    files: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Files and folders; relative paths start at the working directory. `.jsonl`, `.json` (an
    object a line) and `.parquet` hold records; all else is UTF-8 text; `.gz` is unpacked. A folder
    is all files in it and below, sorted, but hidden ones."""
    documents: Literal["files", "lines"] = "files"
    """Plain text among `files`: each file is a document, or each line that is not blank."""
    hub: str | None = None
    """A dataset on the Hugging Face hub, or a folder that `datasets.load_dataset` reads."""
    config: str | None = None
    """The configuration of the hub dataset."""
    split: str = "train"
    """The split of the hub dataset."""
    revision: str | None = None
    """The branch, tag or commit of the hub dataset."""
    streaming: bool = False
    """Read the hub dataset once and keep no copy of it: its tokens are all that is stored."""
    column: str = "text"
    """The column of the hub dataset, or of records in files, that holds the text. One row, one
    document."""


class Ingredient(TextOrigin):
    """One text of a mixture."""

    weight: Annotated[float, Field(gt=0)]
    """Its share of the training sequences, relative to the weights of the others."""


class Corpus(TextOrigin):
    """A text, or a mixture of several: exactly one of `corpus`, `files`, `hub` and `mixture`."""

    mixture: Annotated[tuple[Ingredient, ...], Field(min_length=1)] | None = None
    """Texts that are kept apart and drawn from by their weights."""


class Validation(Corpus):
    """Held-out text: a fraction of the training corpus, or a corpus of its own."""

    fraction: Fraction | None = None
    """Every 1/fraction-th stretch of the training corpus, or of each text of a mixture, is held
    out, wherever the same files are listed again; a source's other text is not."""


class TrainBpe(StrictModel):
    """A tokenizer of byte pairs that is trained on the training text and saved with the model."""

    train_bpe: Annotated[int, Field(ge=260)]
    """Tokens of its vocabulary: 256 bytes, 3 special ones, and merges."""


class Data(StrictModel):
    """Text, tokens and the length of a sequence."""

    train: Corpus | None = None
    """The text that is trained on. It may be left out where every source has a corpus of its own:
    candidates then train on all of these, each in proportion to its tokens and whole, whatever
    `part` of it a source had; what several list comes once."""
    validation: Validation = Validation(fraction=0.05)
    """The text that losses are measured on."""
    tokenizer: str | TrainBpe | None = None
    """`bytes`, `characters`, `{train_bpe: 4096}`, or a Hugging Face folder or hub name; when left
    out, the tokenizer of the first source that is a checkpoint, else `bytes`."""
    separators: Separators = "auto"
    """What stands around each document: the tokenizer's `bos` before it, its `eos` after it,
    `both` or `none`; `auto` is what the tokenizer itself adds around one text, and `eos` where it
    adds nothing. Older files have `true` for `eos` and `false` for `none`."""
    sequence_length: Annotated[int, Field(ge=2)] = 128
    """Tokens in a sequence."""


class Ul2Weights(StrictModel):
    """Shares of the sequences that each part of UL2 has; they are divided by their sum."""

    causal: Annotated[float, Field(gt=0)] = 0.6
    """Predict each next token."""
    prefix: Annotated[float, Field(gt=0)] = 0.2
    """Predict what follows a prefix of random length."""
    span: Annotated[float, Field(gt=0)] = 0.2
    """Predict the spans that were taken out of a text."""


class Objective(StrictModel):
    """What is predicted."""

    name: str = "causal"
    """`causal` (the next token), `masked` (BERT), `ul2` (for decoders: a mixture of next tokens, of
    what follows a prefix, and of spans taken out), or what an installed package adds."""
    mask_fraction: Fraction = 0.15
    """`masked`: the share of a sequence's tokens that is predicted; `ul2`: that is taken out."""
    whole_words: bool = False
    """`masked` only: hide all tokens of a word or none."""
    mean_span: Annotated[float, Field(ge=1)] = 3.0
    """`ul2` only: mean length of the spans that are taken out, in tokens."""
    weights: Ul2Weights = Ul2Weights()
    """`ul2` only: how often each part comes."""
    settings: dict[str, Any] | None = None
    """What an objective that an installed package adds takes besides."""


class Optimizer(StrictModel):
    """The optimizer; matrices decay, vectors do not."""

    name: Literal["adamw", "adam", "sgd", "adafactor", "muon", "lion"] = "adamw"
    """torch's own. `muon` updates the layers' matrices, and AdamW at the same rate all else;
    `lion` needs a torch that has it."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of tensors with two dimensions or more; decoupled but for `adam` and `sgd`."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.95,
    )
    """`adamw`, `adam`, `lion` and what `muon` leaves to AdamW: decay rates of the two moments."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """The same but `lion`: added to the root of the second moment."""
    momentum: Annotated[float, Field(gt=0, lt=1)] | None = None
    """`sgd` (0.9 when left out) and `muon` (0.95): decay rate of the momentum."""
    lr_tuned_for: Literal["source"] | None = None
    """`adamw`, `adam`, `lion`: `source` says that `lr` is right for the first source's width. In a
    wider model, matrices of layers and the head then learn at `lr` times the inputs that they have
    in the source over those that they have now (µP, arXiv:2203.03466). All at `lr` if left out."""


class Schedule(StrictModel):
    """The learning rate over the steps."""

    name: Literal["constant", "linear", "cosine", "wsd", "inverse_sqrt"] = "constant"
    """`constant`; `linear` or `cosine` down to `final_fraction` at the last step; `wsd`, constant
    and then linear over the last `decay_steps`; or with the `inverse_sqrt` of the step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the rate rises linearly from zero."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """`linear`, `cosine` and `wsd`: the last rate as a share of the peak rate."""
    decay_steps: PositiveInt | None = None
    """`wsd` only: steps of the decay; a tenth of all when left out."""
    total_steps: PositiveInt | None = None
    """`linear`, `cosine` and `wsd`: steps that the schedule spans, where training ends before."""
    continued: Annotated[bool | int, Field(alias="continue")] = False
    """Go on, after growth, where the source's rate stopped: one schedule spans both, and all stages
    where there are several. `true`, or for checkpoints the steps that they were trained."""
    rewarm_steps: Annotated[int, Field(ge=0)] = 0
    """With `continue`: steps after each growth over which the rate rises linearly from zero to what
    the schedule says."""

    @property
    def falls(self) -> bool:
        """Whether it ends at a rate of its own, so that its length matters."""
        return self.name in ("linear", "cosine", "wsd")


class NewParameters(StrictModel):
    """How new parameters are trained after a growth, where they are not trained as all others.

    New is what the target has in addition to the source's own: whole layers, copies or not, and in
    a wider tensor all rows and columns behind the source's, copies or not; what is random or
    learned; but not a mean of several sources. Candidates that have nothing new, or nothing else
    (`scratch`), are trained as if this were left out.
    """

    lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor of their learning rate."""
    rewarm_steps: Annotated[int, Field(ge=0)] = 0
    """Steps after growth over which their rate rises linearly from zero."""
    freeze_source_steps: Annotated[int, Field(ge=0)] = 0
    """Steps after growth in which they alone are trained: the source's own parameters do not
    change, and their gradients are not clipped with the others. LLaMA-Pro: all steps."""


class Training(StrictModel):
    """How every candidate is trained."""

    steps: PositiveInt = 1000
    """Completion: steps after growth."""
    batch_size: PositiveInt = 16
    """Sequences in a step."""
    gradient_accumulation: PositiveInt = 1
    """Passes that the sequences of a step are divided among; their gradients are added up."""
    optimizer: Optimizer = Optimizer()
    """The optimizer and its rate."""
    schedule: Schedule = Schedule()
    """The learning rate over the steps after growth."""
    optimizer_state: Literal["keep", "reset", "reset_new"] = "keep"
    """`keep` grows the source's moments by the plan of the weights, copies included; `reset` starts
    from zero; `reset_new` keeps those of the source's own parameters, and new ones begin anew."""
    new_parameters: NewParameters | None = None
    """How new parameters are trained after a growth; as all others when left out."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the whole gradient; null does not clip."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 autocast on a GPU that has it, else fp32."""
    gradient_checkpointing: bool | None = None
    """Keep each layer's input alone, and compute the layer again for its gradients: less memory,
    about a third more time, the same losses. No when left out."""
    compile: bool | None = None
    """Compile the layers with `torch.compile`, once for all candidates of one configuration: faster
    steps after a wait for the compiler, losses that differ by rounding. No when left out."""


class Pretrain(StrictModel):
    """A source that is trained first. What it leaves out is as in `training`."""

    config: dict[str, Any]
    """A transformers configuration: `model_type` and its keys."""
    steps: PositiveInt
    """Training steps."""
    part: Annotated[str, Field(pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")] | None = None
    """`2/3` trains on the second third of the text alone: sources of their own text. Candidates
    train on all of it."""
    corpus: Corpus | None = None
    """The text that this source trains on, where it is another than `data.train`."""
    batch_size: PositiveInt | None = None
    """Sequences in a step."""
    optimizer: Optimizer | None = None
    """The optimizer and its rate."""
    schedule: Schedule | None = None
    """The learning rate over the source's steps; constant when left out."""

    @property
    def place_in_text(self) -> tuple[int, int]:
        """`part` as numbers: (number, parts), (1, 1) for the whole text."""
        number, _, parts = (self.part or "1/1").partition("/")
        return int(number), int(parts)


class Before(StrictModel):
    """What a stage begins with: written by runs with `stages`, into the space of each stage."""

    config: dict[str, Any] = {}
    """The transformers configuration of the model, `model_type` included."""
    steps: Annotated[int, Field(ge=0)] = 0
    """Training steps in the stages before; without any its weights are random."""
    sequences: Annotated[int, Field(ge=0)] = 0
    """Training sequences in the stages before: the data goes on behind them."""


class Source(StrictModel):
    """A trained smaller model: a checkpoint, or one to be trained first."""

    name: Name
    """Its name in reports."""
    checkpoint: str | None = None
    """A Hugging Face checkpoint folder or hub name; safetensors only."""
    pretrain: Pretrain | None = None
    """How to train it; cached by the hash of all that made it."""
    before: Before | None = None
    """The winner of the stage before, in the space of a stage."""


class Harness(StrictModel):
    """Downstream tasks of lm-evaluation-harness, for the trained winner: the extra `[eval]`."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of its tasks, tags and groups, or of your own in `include_path`; `gstack` and `lag`
    stand for the tasks of those papers."""
    include_path: str | None = None
    """A folder of your own task files (YAML), which win over its tasks of the same name; relative
    paths start at the working directory."""
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """Examples in a prompt; when left out 0 for `gstack`, 1 for `lag`, else what a task says."""
    limit: PositiveInt | None = None
    """Take only so many documents of each task, the first ones."""
    batch_size: PositiveInt = 16
    """Prompts in a batch."""
    candidates: tuple[str, ...] = ()
    """Candidates beside the winner, by name or pattern (`lag-*`); with `search.oracle` only, as
    the others are not trained to the final step without it."""


class Annealed(StrictModel):
    """A decay of the learning rate to zero, branched off and thrown away once it is measured."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Its steps, as a share of the steps that were trained before it; they are charged."""
    at: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    """Steps at which it branches off; K alone when left out."""


class EvaluationSettings(StrictModel):
    """How the validation loss is measured."""

    seed: Annotated[int, Field(ge=0)] | None = None
    """Decides the masks of the validation batches; the space's `seed` when left out."""
    batches: PositiveInt = 32
    """Validation batches, the same ones at every evaluation of every candidate."""
    batch_size: PositiveInt | None = None
    """Sequences in a validation batch, at most; as many as in a training step when left out."""
    tokens: PositiveInt = 1_000_000
    """Most tokens that one evaluation takes: where its batches have more, they have fewer sequences
    each, but at least one."""
    steps: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Steps to evaluate at, else a log-spaced ladder; 0, K and the final step are always in."""
    thin: bool = True
    """Measure only the first quarter of the batches, at least 4, at steps before a quarter of K,
    which serve curves alone; all where there are fewer than 8. Step 0, those of `annealed` and
    the last one up to half of K have all of them, and so has every step of a search that may stop
    or choose there."""
    precision: Literal["same", "fp32"] = "same"
    """`same` measures in the precision of training; `fp32` always in fp32."""
    ema: Fraction | None = None
    """Measure a moving average of the weights too, with this decay at every step; it is not trained
    on."""
    annealed: Annealed | None = None
    """Measure at K what the loss would be with the rate brought down to zero."""
    flops: Literal["full", "causal", "calflops", "6nd"] = "full"
    """How FLOPs are counted: attention in `full`, half of it (`causal`), not at all, as calflops
    does (`calflops`), or 6 N D without embeddings and head (`6nd`)."""
    harness: Harness | None = None
    """Downstream tasks, after training."""


class Stability(StrictModel):
    """When the ranking counts as stable: the phase transition is behind."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Least correlation (Spearman's) of two rankings that count as alike."""
    margin: Annotated[float, Field(ge=1)] = 2.0
    """All rankings must be alike over a span of steps whose end is so many times its beginning."""
    left: Annotated[float, Field(gt=-1, le=1)] = 0.6
    """Correlation with the first ranking below which that one has been left: early rankings agree
    for that reason alone."""


class Search(StrictModel):
    """How the winner is found."""

    lag: PositiveInt | Literal["auto"] | None = None
    """K: the steps after growth at which candidates are ranked; `auto` trains until the ranking is
    stable. A quarter of the final step when left out, half with `finalists` and
    `expected_regret`: rankings before it often mislead."""
    min_lag: PositiveInt = 20
    """`lag: auto`: the least K; `evidence: forecast`: the first step at which any is stopped."""
    max_lag: PositiveInt | None = None
    """`lag: auto`: the largest K, where the ranking is not stable before; half of the final step
    when left out."""
    stability: Stability = Stability()
    """`lag: auto` and `strategy: race`: when the ranking counts as stable."""
    strategy: str = "lag"
    """`lag` trains all candidates to K; `race` stops those on the way that are worse than the
    leader; `finalists` trains all to `cut` and the better ones on to K; `expected_regret` trains
    them as long as the posterior of how all end says that it is worth it; `optuna` does not list
    the candidates but samples some, guided by the losses at K of those before; or what an installed
    package adds."""
    settings: dict[str, Any] | None = None
    """What the strategy takes beside: `expected_regret` a `tolerance` (1, in units of the noise)
    and a `budget` (0.3, of training all); or what that of an installed package takes."""
    evidence: str = "batches"
    """`race` only: `batches` stops candidates that are worse beyond doubt in the validation
    batches, once the ranking is stable; `forecast` those that are behind and whose curves lead to
    an end behind the leader's, without waiting for the ranking; or what an installed package
    adds."""
    keep: Literal["half", "third", "quarter"] | PositiveInt = "half"
    """`finalists` only: how many candidates are trained on from `cut` to K: `half` of them, a
    `third`, a `quarter`, or a number."""
    cut: PositiveInt | None = None
    """`finalists` only: the step at which finalists are chosen; half of K when left out."""
    candidates: PositiveInt | None = None
    """`optuna` only: how many different growths to try; baselines and controls come on top."""
    sampler: Literal["tpe", "random"] = "tpe"
    """`optuna` only: Optuna's tree-structured Parzen estimator, or chance."""
    at_a_time: PositiveInt = 4
    """`optuna` only: growths that are chosen together and trained in parallel, so that machines
    with more and with fewer slots find the same."""
    signal: str = "loss"
    """What candidates are judged by at K: the validation `loss`; where its `trend` leads to at the
    final step; that of the moving average of the weights, `ema`; `annealed`, after a decay of the
    rate to zero; or what an installed package adds."""
    oracle: bool = False
    """Train all candidates to the final step and score the ranking."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Seeds under which every candidate is trained; the space's `seed` comes first, and is the only
    one when left out. The order of the training data, dropout and random weights vary, the
    validation batches do not. The winner that is trained on and saved is that of the first."""
    prior: Literal["bench"] | None = None
    """Where growths like these ended in the benchmark's runs breaks ties at K, counts where
    `finalists` are chosen, and warns of those that lead early and end behind; nothing of it when
    left out."""
    vary_sources: bool = False
    """Train the sources anew under each seed, too."""
    keep_checkpoints: PositiveInt | None = None
    """Keep the checkpoints of so many of the best at K in `kept/`, with their optimizer's moments:
    beside the winner, which is trained on."""
    skip_unfit: bool = False
    """Leave out candidates that do not fit the sources and the target, and name them; otherwise
    they are errors."""
    baselines: tuple[str | dict[str, Any], ...] = ("continue",)
    """What growths are compared with, by operator: `continue` (each source itself, trained on) and
    `scratch`; with settings as in `candidates`. They are trained beside the candidates on the same
    batches, first to K, then with the winner to the final step; never ranked, stopped or chosen."""
    single_model_control: bool = True
    """Where several sources are grown into one, add the same growth of the first one alone."""


def _seconds(value: Any) -> Any:
    """Return a duration in seconds: of `90s`, `10m`, `2h`, or of a number."""
    if not isinstance(value, str):
        return value
    if (found := re.fullmatch(_DURATION, value)) is None:
        raise ValueError("write a number of seconds, or one like 90s, 10m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


_DURATION = r"^(\d+(?:\.\d+)?) ?(s|m|h)$"
Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": _DURATION},
            ]
        }
    ),
]
"""Seconds; `90s`, `10m` and `2h` are read, too."""


Parallel = Literal["ddp", "fsdp"]


class Placement(StrictModel):
    """Devices that train one model together."""

    devices: PositiveInt
    """GPUs, or without one processes with `cpus_per_candidate` threads each."""
    parallel: Parallel | None = None
    """As `resources.parallel`."""


class Resources(StrictModel):
    """What one candidate may use."""

    cpus_per_candidate: PositiveInt = 1
    """Threads of one candidate; as many candidates run at a time as fit."""
    gpus_per_candidate: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    """A share of a GPU, 0 without one. With `auto`, candidates share a GPU where there are more of
    them than GPUs, as far as their memory estimate allows and one of them, measured, leaves it
    idle (with a `trainer`, nothing is measured)."""
    devices_per_candidate: PositiveInt | None = None
    """GPUs that train one candidate together, each with some sequences of every step; without a GPU
    that many processes. One when left out."""
    parallel: Parallel | None = None
    """`ddp`: each device holds the whole model; `fsdp`: each holds a part of weights, gradients and
    moments, for models that one device has no room for. `ddp` when left out."""
    winner: Placement | None = None
    """Devices of the winner and of baselines after K; those of a candidate when left out."""
    sources: Placement | None = None
    """Devices of each source's pretraining; those of a candidate when left out."""
    mix_devices: bool = False
    """Train candidates of one search on different GPUs, or without GPUs on different CPUs, where a
    cluster has them; `devices` of the report says which had what. Losses differ by rounding."""
    save_every: Duration | None = None
    """Least time from one save of a candidate's state to the next, e.g. `10m`. When left out, 200
    times what the last save took, from a minute to 10 minutes. None is saved in the first 2 minutes
    but at the step that it is trained to: K, or with an oracle the final one. Saving never takes
    more than a twentieth of the time."""
    save_dtype: Literal["fp32", "source"] = "fp32"
    """The type that the winner is saved in: that of its training, or the one that the first source,
    if it is a checkpoint, is stored in."""
    profile: bool = False
    """Say where the time goes, and trace a few steps of every candidate; no loss changes."""

    @property
    def of_candidates(self) -> Placement:
        """The devices of each candidate."""
        return Placement(devices=self.devices_per_candidate or 1, parallel=self.parallel or "ddp")

    @property
    def of_winner(self) -> Placement:
        """The devices of what is trained alone, from K on."""
        return self._placed(self.winner)

    @property
    def of_sources(self) -> Placement:
        """The devices of each source's pretraining."""
        return self._placed(self.sources)

    def _placed(self, own: Placement | None) -> Placement:
        if own is None:
            return self.of_candidates
        return Placement(devices=own.devices, parallel=own.parallel or "ddp")


class TrainerLosses(StrictModel):
    """Where a trainer of your own writes its losses, and how they are read."""

    format: Literal["trainer_state", "jsonl", "csv", "tensorboard", "wandb", "megatron_log"]
    """`trainer_state` (Hugging Face's `trainer_state.json`, the newest), `jsonl` (an object a
    line), `csv` (also Lightning's), `tensorboard` (event files; needs `lagsearch[tensorboard]`),
    `wandb` (offline runs; needs `lagsearch[wandb]`), or `megatron_log` (lines of its output)."""
    path: str | None = None
    """The file, or for `tensorboard` and `wandb` the folder, below `{out}/`; when left out `{out}`
    itself, for `jsonl` and `csv` `{out}/losses.jsonl` and `{out}/losses.csv`, for `megatron_log`
    what the command prints."""
    key: str | None = None
    """The name of the loss: `eval_loss` for `trainer_state`, `lm loss` for `megatron_log`, else
    `val_loss` when left out."""
    step: str = "step"
    """`jsonl`, `csv` and `wandb`: the name of the step."""


class TrainerCheckpoints(StrictModel):
    """Where a trainer of your own writes its checkpoints."""

    path: str = "{out}/checkpoint-{step}"
    """The checkpoint of a step, below `{out}/`, with `{step}`, or padded `{step:07d}`. Without a
    step it is the last one, written over again and again."""
    export: str | None = None
    """A command that makes a Hugging Face checkpoint `{hf}` of the trainer's own `{path}`; when
    left out, that is one itself."""


class Trainer(StrictModel):
    """A trainer of your own in place of lagsearch's: exactly one of `command` and `python`.

    Commands are run without a shell. They may name `{checkpoint}` (the grown Hugging Face folder),
    `{out}` (a folder of the candidate's own), `{steps}` (the step after growth to stop at),
    `{total_steps}` (the final step, which schedules span), `{seed}`, `{name}` (the candidate's) and
    `{python}` (the Python that runs lagsearch).
    """

    command: str | None = None
    """Trains `{checkpoint}` to `{steps}`; its checkpoints go to `{out}`."""
    python: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """`package.module:function`, called with a `lagsearch.running.trainers.Call`: a generator of
    steps and losses."""
    resume: str | None = None
    """Goes on from `{last}`, the trainer's own checkpoint of `{step}`, to `{steps}`: finalists and
    the winner after K, and what was interrupted. When left out, `command` begins anew."""
    losses: TrainerLosses | None = None
    """Losses to follow while it trains; a NaN among them ends the candidate."""
    checkpoints: TrainerCheckpoints = TrainerCheckpoints()
    """Its checkpoints."""
    evaluate: Literal["lagsearch", "trainer"] = "lagsearch"
    """`lagsearch` measures the checkpoints on `data.validation`, the same batches for all, so that
    ties are tested; `trainer` takes the losses that it logs, which have no batches."""


class Space(StrictModel):
    """A whole space file: one growth, all candidates for it, and how they are judged."""

    name: Name
    """Names the run folder."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The root of every random number."""
    data: Data
    """Text and tokens."""
    objective: Objective = Objective()
    """What is predicted."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    """The trained smaller models."""
    target: Annotated[dict[str, Any], Field(min_length=1)]
    """The configuration keys of the target that differ from the source's."""
    candidates: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    """Operators with their settings; a list of values means one candidate each."""
    training: Training = Training()
    """The training after growth."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """The measurement."""
    search: Search = Search()
    """The search."""
    resources: Resources = Resources()
    """The resources of one candidate."""
    trainer: Trainer | None = None
    """A trainer of your own; lagsearch's own loop when left out."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds under which every candidate is trained."""
        return self.search.seeds or (self.seed,)

    @property
    def before(self) -> Before:
        """What a stage begins with; nothing where this is the space of no stage."""
        return self.sources[0].before or Before()

    @property
    def latest_lag(self) -> int:
        """K, or the largest that it may become."""
        search, steps = self.search, self.training.steps
        if search.lag == "auto":
            return search.max_lag or max(1, steps // 2)
        return search.lag or max(1, int(steps * self.lag_share))

    @property
    def lag_share(self) -> float:
        """K as a share of completion where it is left out."""
        from lagsearch.selection import STRATEGIES

        strategy = STRATEGIES.get(self.search.strategy)
        return 0.25 if strategy is None else strategy.lag_share

    @property
    def cut(self) -> int:
        """The step at which finalists are chosen; K where there are none."""
        from lagsearch.selection import STRATEGIES

        strategy = STRATEGIES.get(self.search.strategy)
        if strategy is None or "cut" not in strategy.heeds:
            return self.latest_lag
        return self.search.cut or max(1, self.latest_lag // 2)

    def n_finalists(self, n_candidates: int) -> int:
        """Return how many of some candidates are trained to K."""
        if self.cut == self.latest_lag:
            return n_candidates
        from lagsearch.selection import n_finalists

        return n_finalists(self.search.keep, n_candidates)

    @property
    def resolved(self) -> "Space":
        """The same with K as a number where it is left out."""
        if self.search.lag is not None:
            return self
        return self.model_copy(
            update={"search": self.search.model_copy(update={"lag": self.latest_lag})}
        )

    def trial(self, candidate: str, seed: int) -> str:
        """Return the name of a candidate's training under a seed: its own under the first."""
        return candidate if seed == self.seeds[0] else f"{candidate}@{seed}"

    def trials(self, candidate: str) -> tuple[str, ...]:
        """Return the names of a candidate's trainings, one for each seed."""
        return tuple(self.trial(candidate, seed) for seed in self.seeds)

    @property
    def tokenizer(self) -> str | TrainBpe:
        """The tokenizer that is asked for, found where it is left out."""
        checkpoints = [each.checkpoint for each in self.sources if each.checkpoint]
        return self.data.tokenizer or next(iter(checkpoints), "bytes")
