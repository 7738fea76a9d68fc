"""In which order jobs are trained: those that take longest first, others as they are listed."""

from dataclasses import dataclass, field

from lagsearch.running.search import longest_first


@dataclass(frozen=True)
class Waiting:
    name: str
    flops_per_step: int = 10
    operator_flops: int = 0
    annealed: dict = field(default_factory=dict)


def order(jobs, until=100, **reached):
    return [job.name for job in longest_first(jobs, until, lambda name: reached.get(name, 0))]


def test_equal_jobs_stay_as_they_are_listed():
    assert order([Waiting("c"), Waiting("a"), Waiting("b")]) == ["c", "a", "b"]


def test_what_is_left_counts():
    """By hand: a 1,000 FLOPs; b 2,000; c 70 steps, 700; d 1,000 and 50 for its operator."""
    jobs = [Waiting("a"), Waiting("b", 20), Waiting("c"), Waiting("d", operator_flops=50)]
    assert order(jobs, c=30) == ["b", "d", "a", "c"]


def test_an_operator_that_was_learned_takes_nothing_more():
    jobs = [Waiting("a"), Waiting("d", operator_flops=500)]
    assert order(jobs, d=10) == ["a", "d"]


def test_branches_up_to_the_step_count():
    jobs = [Waiting("a"), Waiting("b", annealed={50: 20}), Waiting("c", annealed={200: 99})]
    assert order(jobs) == ["b", "a", "c"]
    assert order(jobs, b=60) == ["a", "c", "b"]
