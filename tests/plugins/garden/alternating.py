"""A baseline of runs with stages: two ways to grow in turn."""

from lagsearch.running.baselines import BaselineCourse
from lagsearch.space import chosen_stages


def alternate(plan):
    """Copy the last layers at the first growth, the first layer at the second, and so on."""
    ways = ({"operator": "last"}, {"operator": "tail", "layer": 0})
    grown = [ways[number % 2] for number in range(len(plan.stages) - 1)]
    return chosen_stages(plan.file, [None, *grown])


ALTERNATING = BaselineCourse(
    "alternating", "copies the last layers and the first one in turn", alternate
)
