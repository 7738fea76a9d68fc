"""A stage before it begins: one growth, and all that can be known of it."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from lagsearch.errors import (
    MistakeError,
    OperatorError,
    counted,
    did_you_mean,
)
from lagsearch.operators import (
    ANY,
    Drawn,
    alternatives,
    sampled_settings,
)
from lagsearch.operators.plan.growth import tell_fading
from lagsearch.planning.cost import ModelCost
from lagsearch.planning.guideline import advise_growth
from lagsearch.planning.listing import (
    LeftOut,
    Listing,
    names_in,
    tell_left_out,
)
from lagsearch.planning.names import check_names, tell_rungs, tell_signal
from lagsearch.planning.planned import PlannedCandidate, PlannedSource, training_flops_of
from lagsearch.planning.planner import Planner, baseline_names, is_ungrown, make_planner
from lagsearch.planning.prior import expected_place, tell_prior
from lagsearch.planning.sampling_domain import Domain, make_domain
from lagsearch.planning.vocabulary import (
    Vocabulary,
)
from lagsearch.selection import find_strategy
from lagsearch.space import (
    LEAST_BATCHES,
    Entry,
    Placement,
    Space,
    StageFile,
    Training,
    annealed_steps,
    evaluated_rows,
    evaluation_steps,
    expand,
    first_batches,
    matching,
    measures_itself,
    thinned_steps,
)
from lagsearch.storage.files import digest

MUCH_EVALUATED = 0.25
"""Share of the FLOPs of a search beyond which its evaluations are worth a word."""


@dataclass(frozen=True, repr=False)
class StagePlan:
    """A stage before it begins: one growth.

    Attributes:
        space: What was asked for.
        sources: In the order of the space.
        candidates: In the order of the space. Where they are sampled: what is known of them so
            far, after the baselines that are listed.
        steps: Evaluated steps.
        planner: Plans further candidates.
        domain: What candidates are sampled from; None where they are listed.
        left_out: Candidates that do not fit, where the space says that they are left out.
        validation: Validation batches and the sequences in each; those that are asked for until the
            text is seen.
        baselines: What the candidates are compared with, and what is not ranked among them.
    """

    space: Space
    sources: tuple[PlannedSource, ...]
    candidates: tuple[PlannedCandidate, ...]
    steps: tuple[int, ...]
    planner: "Planner"
    domain: Domain | None = None
    left_out: tuple[LeftOut, ...] = ()
    validation: tuple[int, int] | None = None
    baselines: tuple[PlannedCandidate, ...] = ()

    @property
    def read_notes(self) -> tuple[str, ...]:
        """What a user should know of how the sources' checkpoints are read."""
        return tuple(f"{each.source.name}: {note}." for each in self.sources for note in each.notes)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is left out of the candidates and why, what ranks them and where, how layers run."""
        told = (*tell_left_out(self.left_out), *tell_signal(self.space), *self._tell_fading())
        told = (*told, *tell_prior(self.space, self.candidates), *tell_rungs(self.space))
        return (*told, *_tell_layers(self.space.training), *self._tell_devices())

    def _tell_fading(self) -> Iterator[str]:
        """Say which candidates are ranked before all of them counts in full."""
        ends = {each.name: each.candidate.plan.ramp_end for each in self.candidates}
        if line := tell_fading(ends, self.lag):
            yield line

    def _tell_devices(self) -> Iterator[str]:
        """Say what several devices train together, and what each of them must have."""
        resources = self.space.resources
        placed = {
            "each candidate": resources.of_candidates,
            "the winner": resources.of_winner,
            "each source": resources.of_sources,
        }
        by_place: dict[Placement, list[str]] = {}
        for what, place in placed.items():
            by_place.setdefault(place, []).append(what)
        if all(place.devices == 1 for place in by_place):
            return
        told = [
            f"{' and '.join(names)} on "
            + (f"{place.devices} ({place.parallel})" if place.devices > 1 else "one")
            for place, names in by_place.items()
        ]
        known = [each.cost.memory_bytes for each in self.candidates]
        needed = max((each for each in known if each is not None), default=0) / 2**30
        needs = f"; those of a candidate need about {needed:,.1f} GiB each" if needed else ""
        yield (
            "devices that train a model together, of one machine or of several nodes of a cluster: "
            f"{'; '.join(told)}{needs}."
        )

    @property
    def names(self) -> dict[str, str]:
        """Each candidate's name by every name that it has."""
        return names_in((each.name, each.also) for each in self.candidates)

    @property
    def summary(self) -> str:
        """Candidates, K and steps in a few words."""
        steps = self.space.training.steps
        return f"{counted(len(self.candidates), 'candidate')}, K = {self.lag} of {steps} steps"

    def __repr__(self) -> str:
        return f"StagePlan({self.space.name!r}: {self.summary})"

    def as_html(self) -> str:
        """Return its candidates as a table for a notebook."""
        from lagsearch.display.notebook import Row, table_html

        rows = [
            Row(
                each.name,
                each.layer_map,
                (f"{each.cost.parameters:,}", f"{each.cost.flops_per_step:.2e}"),
            )
            for each in self.candidates
        ]
        heads = ("candidate", "parameters", "FLOPs/step")
        search, every = self.search_flops(), self.flops(self.space.training.steps)
        share = (search + self.winner_flops()) / every
        title = f"{self.space.name}: {counted(len(rows), 'candidate')}, ranked after step "
        title += f"{self.lag:,} of {self.space.training.steps:,}"
        more = f"Search and winner take {share:.0%} of the FLOPs of training all, {every:.2e}."
        return table_html(title, heads, rows, more)

    @property
    def ranked_baselines(self) -> tuple[PlannedCandidate, ...]:
        """The candidates that serve for comparison, and are ranked among the others."""
        return tuple(each for each in self.candidates if each.candidate.is_baseline)

    @property
    def lag(self) -> int:
        """K, or the largest that it may become."""
        return self.space.latest_lag

    @property
    def search_steps(self) -> int:
        """Training steps of all candidates in the search, at most, under one seed."""
        space, count = self.space, self.n_searched
        beyond = (self.lag - space.cut) * space.n_finalists(count)
        return count * space.cut + beyond

    @property
    def n_searched(self) -> int:
        """How many candidates there are or, where they are sampled, may be."""
        listed = len(self.candidates)
        return listed if self.domain is None else len(self.ranked_baselines) + (self.n_sampled or 0)

    def search_flops(self) -> int:
        """Return the training FLOPs of the search; finalists are taken to cost what others do."""
        space, count = self.space, self.n_searched
        to_cut, to_lag = self.flops(space.cut), self.flops(self.lag)
        return to_cut + (to_lag - to_cut) * space.n_finalists(count) // count

    @property
    def validation_size(self) -> tuple[int, int]:
        """Validation batches and the sequences in each."""
        return self.validation or self._asked

    @property
    def _asked(self) -> tuple[int, int]:
        space = self.space
        return space.evaluation.batches, evaluated_rows(space, space.training.batch_size)

    def evaluated(self, cost: ModelCost) -> int:
        """Return the FLOPs of one evaluation of a candidate, of all validation batches.

        None are counted where a trainer of the user's own measures.
        """
        if measures_itself(self.space):
            return 0
        return cost.evaluation_flops * math.prod(self.validation_size) // math.prod(self._asked)

    @property
    def evaluations(self) -> dict[int, int]:
        """How many validation batches are measured at each step up to K."""
        batches, thinned = self.validation_size[0], thinned_steps(self.space)
        few = first_batches(batches)
        steps = [step for step in self.steps if step <= self.lag]
        return {step: few if step in thinned else batches for step in steps}

    def evaluation_flops(self) -> int:
        """Return the FLOPs of the evaluations of the search, at most."""
        space, count, batches = self.space, self.n_searched, self.validation_size[0]
        each = [
            (self.evaluated(one.cost), self.evaluated(one.cost) // (1 + self._is_averaged))
            for one in self.candidates
        ]
        whole, annealed = (sum(column) * count / len(each) for column in zip(*each, strict=True))
        total = 0.0
        for step, measured in self.evaluations.items():
            share = 1.0 if step <= space.cut else space.n_finalists(count) / count
            total += share * whole * measured / batches
            total += share * annealed * (step in annealed_steps(space))
        return round(total) * len(space.seeds)

    def evaluation_advice(self) -> str:
        """Say how to measure on less where evaluations cost much beside training; else nothing."""
        whole = self.validation_size
        if self._evaluated_share(whole) <= MUCH_EVALUATED:
            return ""
        told = f"The search's evaluations cost {self._evaluated_share(whole):.0%} of its training "
        if (size := self.cheaper_validation()) is None:
            return f"{told}FLOPs; fewer evaluation.steps cost less."
        tokens = math.prod(size) * self.space.data.sequence_length
        also = f" --set evaluation.batches={size[0]}" if size[0] < whole[0] else ""
        return (
            f"{told}FLOPs; --set evaluation.tokens={tokens}{also} measures on "
            f"{math.prod(size) / math.prod(whole):.0%} of the tokens, and costs "
            f"{self._evaluated_share(size):.0%}."
        )

    def cheaper_validation(self) -> tuple[int, int] | None:
        """Return the validation batches and sequences in each with which evaluations cost little.

        With fewer tokens, as many batches are shorter, so that paired tests stay what they are;
        fewer batches come after that.

        Returns:
            The most that do; None where those of the space do, or none.
        """
        batches, rows = self.validation_size
        if self._evaluated_share((batches, rows)) <= MUCH_EVALUATED:
            return None
        sizes = [(batches, fewer) for fewer in range(rows - 1, 0, -1)]
        sizes += [(fewer, 1) for fewer in range(batches - 1, LEAST_BATCHES - 1, -1)]
        place = bisect_left(sizes, -MUCH_EVALUATED, key=lambda size: -self._evaluated_share(size))
        return None if place == len(sizes) else sizes[place]

    def _evaluated_share(self, size: tuple[int, int]) -> float:
        """Return what evaluations on a validation size cost, as a share of the search's FLOPs."""
        return replace(self, validation=size).evaluation_flops() / self.search_flops()

    @property
    def _is_averaged(self) -> bool:
        return self.space.evaluation.ema is not None

    def source_flops(self) -> int | None:
        """Return the training FLOPs of all sources; None where a checkpoint's are not known."""
        once = training_flops_of(self.sources)
        often = len(self.space.seeds) if self.space.search.vary_sources else 1
        return None if once is None else once * often

    def baseline_flops(self) -> int:
        """Return the FLOPs of baselines: those of candidates are what goes beyond completion.

        Under the first seed they are trained to their ends, under others as the candidates are.
        """
        space = self.space
        others = (len(space.seeds) - 1) * (
            space.training.steps if space.search.oracle else self.lag
        )
        steps = [(each.steps - space.training.steps, each.cost) for each in self.candidates]
        steps += [(each.steps + others, each.cost) for each in self.baselines]
        return sum(count * cost.flops_per_step for count, cost in steps)

    def flops(self, steps: int) -> int:
        """Return the training FLOPs of all candidates for a number of steps, growth included.

        Each is trained once under each seed; decays that branch off on the way are in. Those that
        are still to be sampled are taken to cost what the candidates do on average.
        """
        steps += sum(count for at, count in annealed_steps(self.space).items() if at <= steps)
        costs = {
            each.name: steps * each.cost.flops_per_step + each.cost.operator_flops
            for each in self.candidates
        }
        once = sum(costs.values())
        if self.domain is not None:
            fixed = sum(costs[each.name] for each in self.ranked_baselines)
            n_examples = len(costs) - len(self.ranked_baselines)
            once = fixed + (once - fixed) * (self.n_sampled or 0) // n_examples
        return once * len(self.space.seeds)

    @property
    def n_sampled(self) -> int | None:
        """How many growths are sampled, at most; None where candidates are listed."""
        wanted = self.space.search.candidates
        return None if self.domain is None or wanted is None else min(wanted, self.domain.size)

    def advice(self) -> str:
        """Say what G_stack's guideline on when to grow means here."""
        space, first = self.space, self.sources[0]
        length, rows = space.data.sequence_length, space.training.batch_size
        source_tokens = None
        if (pretrain := first.source.pretrain) is not None:
            source_tokens = pretrain.steps * (pretrain.batch_size or rows) * length
        grown = self.candidates[0].cost.layer_parameters
        tokens = space.training.steps * rows * length
        return advise_growth(grown, tokens, source_tokens, grown / first.cost.layer_parameters)

    def winner_flops(self) -> int:
        """Return the FLOPs of training one candidate from K to completion, the dearest if any."""
        dearest = max(each.cost.flops_per_step for each in self.candidates)
        return (self.space.training.steps - self.lag) * dearest


def make_plan(file: StageFile, vocabulary: Vocabulary | None) -> StagePlan:
    """Work out a run without training anything.

    Args:
        file: The space.
        vocabulary: The tokenizer's; None where configurations say all that is needed of it.

    Raises:
        LagsearchError: Something cannot be; the message has the line of the space file.
    """
    check_names(file)
    planner = make_planner(file, vocabulary)
    listing = Listing[PlannedCandidate](file, tuple(planner.shapes))
    domain = None
    if find_strategy(file.space.search.strategy).samples:
        domain = _take_examples(planner, listing)
    else:
        _take_all(planner, listing)
    listing.check()
    if not listing.candidates:
        raise file.error(("candidates",), "lists nothing to rank: continue grows nothing")
    is_wider = any(each.candidate.plan.width is not None for each in listing.candidates)
    if file.space.training.optimizer.lr_tuned_for is not None and not is_wider:
        at = ("training", "optimizer", "lr_tuned_for")
        raise file.error(at, "has no effect: no candidate is wider than its source")
    _check_new_parameters(file, listing.candidates)
    _check_whole(file, listing.candidates)
    planned = tuple(
        replace(each, also=tuple(listing.also[each.name])) for each in listing.candidates
    )
    plan = StagePlan(
        *(file.space, planner.sources, planned, evaluation_steps(file.space), planner, domain),
        left_out=tuple(listing.left_out),
        baselines=planner.baselines({name for each in planned for name in (each.name, *each.also)}),
    )
    if domain is None:
        _check_chosen(file, tuple(plan.names))
    return plan


def _take_all(planner: Planner, listing: Listing[PlannedCandidate]) -> None:
    """Plan the listed candidates, words that mean several spelt out, and controls beside them."""
    controls: dict[str, Entry] = {}
    space, names = planner.file.space, tuple(planner.shapes)
    for entry in _ranked(space):
        try:
            _check_listed(
                sampled_settings(entry.operator, entry.settings, planner.shapes, planner.target)
            )
            found = alternatives(entry.operator, entry.settings, names, space.seed)
        except OperatorError as error:
            listing.refuse(entry.at, error, entry.operator)
            continue
        for settings in found:
            spelt = replace(entry, settings=settings)
            listing.take(spelt, partial(planner.candidate, spelt))
            if (control := planner.control(spelt)) is not None:
                controls[digest([control.operator, control.settings])] = control
    for control in controls.values():
        listing.take(control, partial(planner.candidate, control), is_listed=False)


def _take_examples(planner: Planner, listing: Listing[PlannedCandidate]) -> Domain:
    """Plan baselines, and one example of every value that may be sampled.

    So what cannot be at all is found before anything is trained.
    """
    space = planner.file.space

    def example(entry: Entry) -> PlannedCandidate:
        planned = planner.candidate(entry)
        if (control := planner.control(entry)) is not None:
            planner.candidate(control)
        return planned

    domain = make_domain(space, planner.shapes, planner.target, listing.refuse)
    listed = [each for each in _ranked(space) if each.operator in baseline_names()]
    for entry in (*listed, *domain.examples()):
        listing.take(entry, partial(example, entry))
    return domain


def _tell_layers(training: Training) -> Iterator[str]:
    """Say what is not plain in how layers are computed."""
    if training.gradient_checkpointing:
        yield "gradient checkpointing: each layer is computed again for its gradients."
    if training.compile:
        yield "layers are compiled, but for candidates that fade something in."


def _check_whole(file: StageFile, planned: Sequence[PlannedCandidate]) -> None:
    """Check that no operator forms whole weights where each device has a part.

    Raises:
        SpaceError: One does.
    """
    if file.space.resources.of_candidates.parallel != "fsdp":
        return
    for each in planned:
        if each.candidate.plan.learned is not None:
            message = f"{each.name} learns how weights are mixed, and forms them whole for that"
            raise file.error(("resources", "parallel"), f"{message}: take ddp, or leave it out")


def _check_new_parameters(file: StageFile, planned: Sequence[PlannedCandidate]) -> None:
    """Check that what is said of new parameters alone is said of any.

    Raises:
        SpaceError: No growth has both new parameters and the source's own.
    """
    grown = [each.candidate.plan for each in planned if each.candidate.plan.sources]
    if file.space.training.new_parameters is None or not grown:
        return
    if not any(plan.has_new_and_own for plan in grown):
        at = ("training", "new_parameters")
        message = "changes nothing: no candidate has new parameters beside its source's own"
        raise file.error(at, message)


def _check_chosen(file: StageFile, names: Sequence[str]) -> None:
    """Check that there are candidates of the names that are to be evaluated on downstream tasks.

    Raises:
        SpaceError: A name or pattern is none of theirs.
    """
    harness = file.space.evaluation.harness
    for index, pattern in enumerate(harness.candidates if harness else ()):
        if not matching(pattern, names):
            at = ("evaluation", "harness", "candidates", index)
            hint = did_you_mean(pattern, list(names)) or "; `lagsearch plan` lists them"
            raise file.error(at, f"is the name or pattern of no candidate{hint}")


def _ranked(space: Space) -> Iterator[Entry]:
    """Yield the listed candidates but those that do not reach the target."""
    yield from (entry for entry in expand(space) if not is_ungrown(entry))


def _check_listed(words: Mapping[str, Drawn]) -> None:
    for setting, each in words.items():
        message = f"{ANY} stands for {each.size:,} candidates, which are not listed: "
        ask = "search: {strategy: optuna, candidates: 40} tries some of them"
        raise MistakeError(message + ask, setting)


def recorded(plan: StagePlan) -> dict[str, Any]:
    """Return what `plans.json` holds: the growth and cost of every candidate and baseline."""

    def record(planned: PlannedCandidate) -> dict[str, Any]:
        place = None if plan.space.search.prior is None else expected_place(planned)
        return {
            "name": planned.name,
            "also": list(planned.also),
            "operator": planned.candidate.operator,
            "settings": dict(planned.candidate.settings),
            "is_baseline": planned.candidate.is_baseline,
            "layer_map": planned.layer_map,
            "plan": planned.candidate.plan.to_dict(),
            "steps": planned.steps,
            **asdict(planned.cost),
            "evaluation_flops": plan.evaluated(planned.cost),
            **({} if place is None else {"prior": place}),
        }

    return {
        "format": 1,
        "validation_batches": plan.validation_size[0],
        "candidates": [record(each) for each in plan.candidates],
        "baselines": [record(each) for each in plan.baselines],
        "left_out": [asdict(each) for each in plan.left_out],
    }
