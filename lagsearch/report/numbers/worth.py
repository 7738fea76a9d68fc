"""Whether growing paid, in a sentence: the best growth beside what was trained on without it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lagsearch.report.numbers.view import beside

LEVEL = 0.05
"""Largest p-value at which two trainings are told apart."""


Outcome = Literal[
    "paid", "ahead at equal steps", "at equal steps alone", "not shown", "did not pay", "not known"
]
"""The best growth is ahead at equal steps and at equal training FLOPs; at equal steps, and nothing
fair is known at equal FLOPs; at equal steps only; it cannot be told apart there; it is behind
there; or one of the two is known in mid-schedule only. Where equal steps are known in mid-schedule
only, equal FLOPs decide."""


@dataclass(frozen=True)
class Worth:
    """What growing came to.

    Attributes:
        outcome: In a word.
        line: In a sentence.
        asks: What `search.baselines` has to list for what is not known, as YAML.
    """

    outcome: Outcome
    line: str
    asks: tuple[str, ...] = ()

    @property
    def pays(self) -> bool:
        """Whether nothing speaks against growing."""
        return self.outcome in ("paid", "ahead at equal steps", "not known")


def judge_growing(report: dict[str, Any]) -> list[Worth]:
    """Judge the best growth against each kind of baseline that was trained beside the candidates.

    The best growth is the one with the lowest loss at completion, of those that came there; it is
    tested with Bonferroni's correction for their number where it is ahead.
    """
    kinds = dict.fromkeys(each["operator"] for each in beside(report))
    found = [
        _against(report, [x for x in beside(report) if x["operator"] == kind]) for kind in kinds
    ]
    return [each for each in found if each is not None]


def failed_baselines(report: dict[str, Any]) -> list[str]:
    """Say which baselines cannot be compared with anything, and why."""
    every = (report.get("growing") or {}).get("baselines", ())
    return [
        f"Baseline {each['name']} failed, so nothing is compared with it: {each['failure']}."
        for each in every
        if each["status"] == "failed"
    ]


def was_not_compared(report: dict[str, Any]) -> bool:
    """Return whether no baseline was there to tell whether growing pays off."""
    growing = report.get("growing")
    if growing is None or growing["baselines"] or report["savings"] or report["curves"]:
        return False
    return not _is_stage(report)  # of a stage, the report of the whole run says it


def baselines_to_add(report: dict[str, Any]) -> tuple[str, ...]:
    """Return all that `search.baselines` has to list to tell whether growing pays off, as YAML.

    Those that are there are among them; empty where nothing is to be added, or where what would
    tell was there and failed.
    """
    if report["curves"] or _is_stage(report):
        return ()
    asked = [item for each in judge_growing(report) for item in each.asks]
    if was_not_compared(report):
        asked = ["continue", "{operator: continue, steps: matched}"]
    there = [_listed(each) for each in beside(report)]
    return tuple(dict.fromkeys([*there, *asked])) if asked else ()


def _listed(baseline: dict[str, Any]) -> str:
    steps = baseline.get("settings", {}).get("steps")
    operator = str(baseline["operator"])
    return operator if steps is None else f"{{operator: {operator}, steps: {steps}}}"


def _is_stage(report: dict[str, Any]) -> bool:
    return any(each["kind"] == "stage" for each in report.get("sources", ()))


def _against(report: dict[str, Any], baselines: Sequence[dict[str, Any]]) -> Worth | None:
    """Judge at equal steps or, where those are known in mid-schedule only, at equal FLOPs."""
    names = {each["name"]: each for each in baselines}
    known = [each for each in report["growing"]["comparisons"] if each["baseline"] in names]
    for at, is_wanted in (
        ("equal_steps", _is_fair),
        ("equal_flops", _is_fair),
        ("equal_steps", bool),
    ):
        if is_wanted is bool and all(each["source"] is None for each in baselines):
            return None  # from scratch it has a source's compute as well, and no schedule to share
        points = [(each, each[at]) for each in known if is_wanted(each[at])]
        if points:
            break
    else:
        return None
    last = max(point.get("step", 0) for _, point in points)
    points = [each for each in points if each[1].get("step", 0) == last]
    growth = min(points, key=lambda each: float(each[1]["val_loss"]))[0]["growth"]
    n_growths = len({each["growth"] for each, _ in points})
    of_best = [each for each in points if each[0]["growth"] == growth]
    found, point = min(of_best, key=lambda each: float(each[1]["baseline_val_loss"]))
    budgets = [each for each in known if each["growth"] == growth and each["equal_flops"]]
    fair = [each for each in budgets if _is_fair(each["equal_flops"])]
    spent = max(fair or budgets, key=lambda each: float(each["equal_flops"]["flops"]), default=None)
    telling = _Telling(report, growth, names[found["baseline"]], n_growths)
    at_flops = spent and _Spent(spent["equal_flops"], names[spent["baseline"]])
    if not _is_fair(point):
        return telling.unknown(point, at_flops)
    return telling.worth(point, at_flops) if at == "equal_steps" else telling.worth_alone(point)


def _is_fair(point: dict[str, Any] | None) -> bool:
    return point is not None and bool(point["is_fair"])


@dataclass(frozen=True)
class _Spent:
    """A comparison at equal training FLOPs.

    Attributes:
        point: As in `report.json`.
        baseline: The entry of the baseline that it is with.
    """

    point: dict[str, Any]
    baseline: dict[str, Any]

    @property
    def is_short(self) -> bool:
        """Whether the growth is the one that is read on its way, not the baseline."""
        return bool(max(self.baseline["flops_by_step"].values()) <= self.point["flops"])

    @property
    def wanted(self) -> str:
        """What would train the baseline for the whole compute of the growth."""
        spent, operator = self.baseline["flops_by_step"], self.baseline["operator"]
        last = max(map(int, spent))
        enough = math.ceil(last * self.point["flops"] / spent[str(last)])
        steps = "matched" if self.is_short else enough
        return f"{{operator: {operator}, steps: {steps}}}"


@dataclass(frozen=True)
class _Telling:
    """A growth and a baseline, in words.

    Attributes:
        report: As `report.json`.
        growth: Its name.
        baseline: Its entry.
        n_growths: Growths that the best was chosen among.
    """

    report: dict[str, Any]
    growth: str
    baseline: dict[str, Any]
    n_growths: int

    @property
    def best(self) -> str:
        """The growth, by what it is."""
        is_winner = self.growth == self.report["winner"]["name"]
        if self.n_growths > 1:
            return f"the best candidate, {self.growth}"
        return f"the winner, {self.growth}" if is_winner else self.growth

    @property
    def other(self) -> str:
        """The baseline, by what it is."""
        if self.baseline["source"] is None:
            return "the target trained from scratch"
        several = len({each["name"] for each in self.report["sources"]}) > 1
        named = f"source {self.baseline['source']}" if several else "the source"
        return f"{named} trained on without growing"

    def worth(self, at_steps: dict[str, Any], at_flops: _Spent | None) -> Worth:
        """Judge at equal steps first, then at equal training FLOPs."""
        where, is_end = f"at step {at_steps['step']:,}", at_steps["step"] == self.report["steps"]
        told, test = self._told(at_steps), self.test(at_steps)
        if self.is_behind(at_steps):
            verb = "ends lower" if is_end else "is lower"
            line = f"{self.other} {verb} than {self.best}, {told} {where}{test}"
            return Worth("did not pay", f"Growing did not pay off: {line}.")
        if not self.is_ahead(at_steps):
            line = f"{where} {self.other} cannot be told apart from {self.best}, {told}{test}"
            return Worth("not shown", f"Growing is not shown to pay off: {line}.")
        below = (
            f"{self.best}, {'ends' if is_end else 'is'} {-at_steps['difference']:.4f} nats below"
        )
        line = f"{below} {self.other} {where}{test}"
        if at_flops is None or not at_flops.point["is_fair"]:
            head = "Growing is ahead at equal steps, but whether it pays off at equal compute is"
            line = f"{head} not known: {line}; {self._open(at_flops)}."
            return Worth("ahead at equal steps", line, self._asks(at_flops))
        point = at_flops.point
        spent = _flops(point)
        if self.is_ahead(point):
            much = f"{-point['difference']:.4f} nats {spent}{self.test(point)}"
            return Worth("paid", f"Growing paid off: {line}, and {much}.")
        where = "is ahead" if self.is_behind(point) else "cannot be told apart from it"
        losses = f"{point['baseline_val_loss']:.4f} against the {point['val_loss']:.4f}"
        of_both = f"{losses} of {self.growth}{self.test(point)}"
        much = f"{spent} {self.baseline['name']} {where}, {of_both}"
        if self.is_behind(point):
            line = (
                f"Growing did not pay off at equal compute: {much}; at equal steps it did: {line}."
            )
        else:
            line = f"Growing paid off at equal steps only: {line}; {much}."
        return Worth("at equal steps alone", line)

    def worth_alone(self, point: dict[str, Any]) -> Worth:
        """Judge at equal training FLOPs, where equal steps are known in mid-schedule only."""
        spent, told, test = _flops(point), self._told(point), self.test(point)
        operator, failed = self.baseline["operator"], self._failed(is_longer=False)
        why = f", as {failed} failed" if failed else f" (add {operator} to search.baselines)"
        left, asks = f"not measured at equal steps{why}", () if failed else (operator,)
        if self.is_behind(point):
            line = f"{self.other} ends lower than {self.best}, {told} {spent}{test}"
            return Worth("did not pay", f"Growing did not pay off: {line}; {left}.", asks)
        if not self.is_ahead(point):
            line = f"{spent} {self.other} cannot be told apart from {self.best}, {told}{test}"
            return Worth("not shown", f"Growing is not shown to pay off: {line}; {left}.", asks)
        below = f"{self.best}, ends {-point['difference']:.4f} nats below {self.other}"
        line = f"Growing paid off: {below} {spent}{test}; {left}."
        return Worth("paid", line, asks)

    def unknown(self, at_steps: dict[str, Any], at_flops: _Spent | None) -> Worth:
        """Say what is known where one of the two is in mid-schedule in every comparison."""
        other, point = self.baseline["name"], at_steps
        known = (
            f"at step {point['step']:,} {other} is known only in mid-schedule, at "
            f"{point['baseline_val_loss']:.4f} against the {point['val_loss']:.4f} of {self.growth}"
        )
        line = f"Whether growing pays off is not known: {known}; {self._open(at_flops)}."
        return Worth("not known", line, self._asks(at_flops))

    def _open(self, at_flops: _Spent | None) -> str:
        """Say what is known at equal training FLOPs, and what is not, where nothing fair is."""
        failed, asks = self._failed(is_longer=True), ", ".join(self._asks(at_flops))
        way = f", as {failed} failed" if failed else f" (to find out: search.baselines: [{asks}])"
        if at_flops is None:
            return f"not measured at equal training FLOPs{way}"
        point, sides = at_flops.point, (self.growth, at_flops.baseline["name"])
        losses = (point["val_loss"], point["baseline_val_loss"])
        if not at_flops.is_short:
            sides, losses = sides[::-1], losses[::-1]
        return (
            f"{_flops(point)} {sides[0]} is known only in mid-schedule, at {losses[0]:.4f} against "
            f"the {losses[1]:.4f} of {sides[1]}{way}"
        )

    def _asks(self, at_flops: _Spent | None) -> tuple[str, ...]:
        """Return the baselines that would tell at equal training FLOPs; none where one failed."""
        if self._failed(is_longer=True):
            return ()
        operator = self.baseline["operator"]
        longer = f"{{operator: {operator}, steps: matched}}"
        return operator, longer if at_flops is None else at_flops.wanted

    def _failed(self, *, is_longer: bool) -> str | None:
        """Return the baseline of this kind that failed, of as many steps as growths or of more."""
        steps, operator = self.report["steps"], self.baseline["operator"]
        for each in self.report["growing"]["baselines"]:
            is_it = each["status"] == "failed" and each["operator"] == operator
            if is_it and (each["steps"] > steps) == is_longer:
                return str(each["name"])
        return None

    def _told(self, point: dict[str, Any]) -> str:
        return f"{point['baseline_val_loss']:.4f} against its {point['val_loss']:.4f}"

    def corrected(self, point: dict[str, Any]) -> float | None:
        """The p-value: corrected where the growth is ahead, as it was chosen among several."""
        p_value = point["p_value"]
        if p_value is None or point["difference"] >= 0:
            return None if p_value is None else float(p_value)
        return min(1.0, float(p_value) * self.n_growths)

    def is_ahead(self, point: dict[str, Any]) -> bool:
        """Whether the growth is below the baseline, beyond doubt where anything tells doubt."""
        p_value = self.corrected(point)
        return point["difference"] < 0 and (p_value is None or p_value < LEVEL)

    def is_behind(self, point: dict[str, Any]) -> bool:
        """Whether the baseline is below the growth in the same sense."""
        p_value = self.corrected(point)
        return point["difference"] >= 0 and (p_value is None or p_value < LEVEL)

    def test(self, point: dict[str, Any]) -> str:
        """Say what test there was."""
        p_value, seeds = self.corrected(point), point["seeds"]
        if p_value is None:
            return " (each loss was measured once)"
        parts = [f"{seeds} seeds"] if seeds > 1 else []
        parts += ["the validation batches"] if self.report["batches"] > 1 else []
        one = ", one seed" if seeds == 1 else ""
        chosen = f", Bonferroni-corrected for {self.n_growths} candidates"
        is_corrected = self.n_growths > 1 and point["difference"] < 0
        tested = f"paired t-test over {' and '.join(parts)}{one}{chosen if is_corrected else ''}"
        return f" ({tested}: p = {p_value:.2g})"


def _flops(point: dict[str, Any]) -> str:
    return f"at equal training FLOPs ({point['flops']:.2e})"
