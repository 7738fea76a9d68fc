"""Growths as mergekit's passthrough YAML, there and back, where it can express them.

A slice is a run of consecutive layers of one model: `layer_range: [from, to)`. mergekit takes the
embedding from the first slice's model, and the final norm and head from the last one's.
"""

from collections.abc import Sequence
from typing import Any

from lagsearch.errors import OperatorError
from lagsearch.operators.plan import GrowthPlan, LayerOrigin, Origin


def to_mergekit(plan: GrowthPlan, models: Sequence[str]) -> dict[str, Any]:
    """Return a plan as mergekit's configuration, plain values.

    Args:
        plan: A growth that only copies.
        models: Path or hub name of each source.

    Raises:
        OperatorError: The plan does more than copy layers and ends.
    """
    first, last = plan.layers[0], plan.layers[-1]
    if any(layer.treatment != "copy" or layer.layer is None for layer in plan.layers):
        raise OperatorError("mergekit's passthrough copies layers; this growth does more than that")
    if plan.width:
        raise OperatorError("mergekit's passthrough does not grow in width")
    if plan.noise:
        raise OperatorError("mergekit's passthrough adds no noise")
    if plan.bottom != Origin((first.source,)) or plan.top != Origin((last.source,)):
        raise OperatorError(
            "mergekit takes the embedding from the first layer's model and the head from the last "
            "one's; this growth does not"
        )
    slices: list[list[int]] = []  # source, from, to
    for layer in plan.layers:
        number = layer.layer or 0
        if slices and slices[-1][0] == layer.source and slices[-1][2] == number:
            slices[-1][2] += 1
        else:
            slices.append([layer.source, number, number + 1])
    return {
        "slices": [
            {"sources": [{"model": models[source], "layer_range": [start, end]}]}
            for source, start, end in slices
        ],
        "merge_method": "passthrough",
    }


def from_mergekit(config: Any) -> tuple[GrowthPlan, list[str]]:
    """Read mergekit's configuration as a plan, and the models it names.

    Args:
        config: The YAML file's plain values.

    Raises:
        OperatorError: It asks for what a plan cannot honour; nothing is ignored.
    """
    top = _keys(config, "the file", {"slices", "merge_method"}, {"dtype", "tokenizer_source"})
    if top["merge_method"] != "passthrough":
        raise OperatorError(f"merge_method {top['merge_method']!r}: only passthrough is a growth")
    for key in ("dtype", "tokenizer_source"):
        if key in top:
            raise OperatorError(f"{key} is not honoured: a growth keeps the source's")
    if not isinstance(top["slices"], list) or not top["slices"]:
        raise OperatorError("slices must list at least one slice")
    models: list[str] = []
    layers: list[LayerOrigin] = []
    seen: set[tuple[int, int]] = set()
    for number, each in enumerate(top["slices"]):
        at = f"slices[{number}]"
        sources = _keys(each, at, {"sources"})["sources"]
        if not isinstance(sources, list) or len(sources) != 1:
            raise OperatorError(f"{at}.sources must list one model; passthrough has no mixing")
        source = _keys(sources[0], f"{at}.sources[0]", {"model", "layer_range"})
        start, end = _range(source["layer_range"], at)
        if not isinstance(source["model"], str):
            raise OperatorError(f"{at}: model must be a path or a hub name")
        if source["model"] not in models:
            models.append(source["model"])
        place = models.index(source["model"])
        for layer in range(start, end):
            layers.append(LayerOrigin(place, layer, is_new=(place, layer) in seen))
            seen.add((place, layer))
    ends = Origin((layers[0].source,)), Origin((layers[-1].source,))
    return GrowthPlan(tuple(layers), *ends), models


def _keys(
    value: Any, at: str, needed: set[str], allowed: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OperatorError(f"{at} must be a mapping")
    if missing := sorted(needed - set(value)):
        raise OperatorError(f"{at} lacks {', '.join(missing)}")
    if unknown := sorted(set(value) - needed - allowed):
        raise OperatorError(f"{at}: {', '.join(unknown)} cannot be honoured by a growth")
    return value


def _range(value: Any, at: str) -> tuple[int, int]:
    is_pair = isinstance(value, list) and len(value) == 2
    if not is_pair or not all(type(each) is int for each in value) or not 0 <= value[0] < value[1]:
        raise OperatorError(f"{at}: layer_range must be [from, to) with 0 <= from < to")
    return value[0], value[1]
