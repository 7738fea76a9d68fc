"""Growths as mergekit's passthrough YAML, there and back, where it can express them.

A slice is a run of consecutive layers of one model: `layer_range: [from, to)`. mergekit takes the
embedding from the first slice's model, and the final norm and head from the last one's. A slice
whose output projections are scaled by zero adds nothing at first, as `identity`'s new layers do.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lagsearch.errors import OperatorError
from lagsearch.operators.plan.growth import (
    GrowthPlan,
    LayerOrigin,
    Origin,
    Treatment,
)


class Passthrough(NamedTuple):
    """What a passthrough file asks for.

    Attributes:
        plan: The growth.
        models: The models it names.
        dtype: The type it asks for, if any.
        zeroed: Parts of names of the tensors that it sets to zero in some slices; all slices that
            set any to zero set the same.
    """

    plan: GrowthPlan
    models: list[str]
    dtype: str | None = None
    zeroed: frozenset[str] = frozenset()


def to_mergekit(
    plan: GrowthPlan, models: Sequence[str], closing: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a plan as mergekit's configuration, plain values.

    Args:
        plan: A growth that only copies, or lets copies add nothing.
        models: Path or hub name of each source.
        closing: Names of what is zero in a layer that adds nothing, where they are known: its
            output projections, or the norms behind them.

    Raises:
        OperatorError: The plan does more than copy layers and ends.
    """
    first, last = plan.layers[0], plan.layers[-1]
    known = {"copy", "zero_output"} if closing else {"copy"}
    if any(layer.treatment not in known or layer.layer is None for layer in plan.layers):
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
    slices: list[tuple[int, Treatment, int, int]] = []  # source, treatment, from, to
    for layer in plan.layers:
        number = layer.layer or 0
        if slices and slices[-1][:2] == (layer.source, layer.treatment) and slices[-1][3] == number:
            slices[-1] = (*slices[-1][:3], number + 1)
        else:
            slices.append((layer.source, layer.treatment, number, number + 1))
    scale = [*({"filter": name, "value": 0.0} for name in closing), {"value": 1.0}]
    return {
        "slices": [
            {
                "sources": [
                    {
                        "model": models[source],
                        "layer_range": [start, end],
                        **({"parameters": {"scale": scale}} if treatment != "copy" else {}),
                    }
                ]
            }
            for source, treatment, start, end in slices
        ],
        "merge_method": "passthrough",
    }


def from_mergekit(config: Any) -> Passthrough:
    """Read mergekit's configuration as a plan, and the models it names.

    Args:
        config: The YAML file's plain values.

    Raises:
        OperatorError: It asks for what a plan cannot honour; nothing is ignored.
    """
    optional = {"dtype", "tokenizer_source", "base_model", "const_tag"}
    top = _keys(config, "the file", {"slices", "merge_method"}, optional)
    if top["merge_method"] != "passthrough":
        raise OperatorError(f"merge_method {top['merge_method']!r}: only passthrough is a growth")
    if not isinstance(top["slices"], list) or not top["slices"]:
        raise OperatorError("slices must list at least one slice")
    models: list[str] = []
    layers: list[LayerOrigin] = []
    zeroed: set[frozenset[str]] = set()
    seen: set[tuple[int, int]] = set()
    for number, each in enumerate(top["slices"]):
        at = f"slices[{number}]"
        sources = _keys(each, at, {"sources"})["sources"]
        if not isinstance(sources, list) or len(sources) != 1:
            raise OperatorError(f"{at}.sources must list one model; passthrough has no mixing")
        needed = {"model", "layer_range"}
        source = _keys(sources[0], f"{at}.sources[0]", needed, {"parameters"})
        start, end = _range(source["layer_range"], at)
        if not isinstance(source["model"], str):
            raise OperatorError(f"{at}: model must be a path or a hub name")
        if source["model"] not in models:
            models.append(source["model"])
        place = models.index(source["model"])
        filters = _zeroed(source.get("parameters"), f"{at}.sources[0]")
        zeroed |= {filters} if filters else set()
        treatment: Treatment = "zero_output" if filters else "copy"
        for layer in range(start, end):
            layers.append(LayerOrigin(place, layer, treatment, is_new=(place, layer) in seen))
            seen.add((place, layer))
    if len(zeroed) > 1:
        raise OperatorError("slices set different tensors to zero; a growth sets the same in all")
    _check_models(top, models)
    ends = Origin((layers[0].source,)), Origin((layers[-1].source,))
    filters = next(iter(zeroed), frozenset())
    return Passthrough(GrowthPlan(tuple(layers), *ends), models, top.get("dtype"), filters)


def check_zeroed(zeroed: frozenset[str], closing: Sequence[str], others: Sequence[str]) -> None:
    """Check that what a file sets to zero is all that lets a layer add nothing, and no more.

    Args:
        zeroed: Parts of names.
        closing: Names of a layer's tensors that are zero where it adds nothing.
        others: Names of its other tensors.

    Raises:
        OperatorError: It is not.
    """

    def is_hit(name: str) -> bool:
        return any(part in name for part in zeroed)

    wrong = [name for name in closing if not is_hit(name)] + list(filter(is_hit, others))
    if zeroed and wrong:
        raise OperatorError(
            f"scale 0 on {', '.join(sorted(zeroed))} is not honoured: a growth sets a layer's "
            "output projections to zero, or the norms behind them where there are some, all of "
            f"them and nothing else ({wrong[0]} is wrong)"
        )


def _check_models(top: dict[str, Any], models: Sequence[str]) -> None:
    """Check that base model and tokenizer are those of the first model."""
    base = top.get("base_model", models[0])
    if base != models[0]:
        raise OperatorError(
            f"base_model {base!r} is not the first slice's {models[0]!r}, whose tokenizer a growth "
            "keeps: delete the line, or order the slices otherwise"
        )
    wanted = top.get("tokenizer_source", "base")
    is_own = wanted in ("base", models[0]) or (wanted == "union" and len(models) == 1)
    if not is_own:
        raise OperatorError(
            f"tokenizer_source {wanted!r} is not honoured: a growth keeps the first model's, which "
            "is tokenizer_source: base"
        )


def _zeroed(parameters: Any, at: str) -> frozenset[str]:
    """Return what a slice's parameters set to zero: `scale`, by parts of names."""
    if parameters is None:
        return frozenset()
    listed = _keys(parameters, f"{at}.parameters", {"scale"})["scale"]
    listed = listed if isinstance(listed, list) else [{"value": listed}]
    found = set()
    for each in listed:
        entry = _keys(each, f"{at}.parameters.scale", {"value"}, {"filter"})
        factor, name = entry["value"], entry.get("filter")
        is_zero = not isinstance(factor, bool) and factor == 0 and isinstance(name, str)
        if not is_zero and not (not isinstance(factor, bool) and factor == 1):
            raise OperatorError(
                f"{at}.parameters.scale {factor!r}: a growth takes 0 for output projections, by "
                "their filter, and 1 for all else"
            )
        if is_zero:
            found.add(str(name))
    return frozenset(found)


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
