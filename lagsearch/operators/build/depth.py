"""What every operator of the depth shares."""

from lagsearch.errors import OperatorError
from lagsearch.models.configs import ModelShape


def depth_growth(name: str, source: ModelShape, target: ModelShape) -> int:
    """Return the number of layers to add, where nothing but the depth grows.

    Raises:
        OperatorError: The target is not deeper than the source, or differs in another key.
    """
    if source.model_type != target.model_type:
        raise OperatorError(
            f"{name} grows {source.model_type} models to {source.model_type} models, not to "
            f"{target.model_type}"
        )
    if differences := source.differences(target):
        key, (old, new) = next(iter(differences.items()))
        raise OperatorError(f"{name} grows in depth only; the target changes {key} {old} to {new}")
    if target.n_layers <= source.n_layers:
        raise OperatorError(
            f"the target's {target.n_layers} layers are not more than the source's "
            f"{source.n_layers}"
        )
    return target.n_layers - source.n_layers


def stacked(n_source: int, n_target: int, remainder: str = "top") -> list[int]:
    """Return the source layers of whole stacks one on another: L to T numbers, 0-based.

    Args:
        n_source: L.
        n_target: T, at least L.
        remainder: Which layers stand above the last whole stack where L does not divide T: the
            `top` ones (bert2BERT), or from the `bottom` (G_stack's code).
    """
    whole, rest = divmod(n_target, n_source)
    first = n_source - rest if remainder == "top" else 0
    return list(range(n_source)) * whole + list(range(first, first + rest))


def interleaved(n_source: int, n_target: int) -> list[int]:
    """Return the source layers of each layer repeated in place: L to T numbers, 0-based."""
    return [place * n_source // n_target for place in range(n_target)]
