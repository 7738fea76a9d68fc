"""What the G_stack paper advises on when to grow and by how much, with where that was fitted.

Source:
    Du et al. 2024, arXiv:2405.15319, section 4.2: growth timing and growth factor.
"""

from math import log10

FITTED_PARAMETERS = (0.41e9, 3e9)
FITTED_FLOPS = (0.8e20, 1.2e21)
FITTED_SHARE = (0.07, 0.19)
"""Source's tokens as a share of the target's, where the guideline was fitted."""
FACTOR = 4


def growth_timing(parameters: float, flops: float) -> float:
    """Return the tokens d after which a source should be grown.

    log10 d = 0.88 log10 N + 163.27 / log10 C - 5.74.

    Args:
        parameters: N, of the target, without embeddings and head.
        flops: C, of all training.
    """
    return float(10 ** (0.88 * log10(parameters) + 163.27 / log10(flops) - 5.74))


def is_fitted(parameters: float, flops: float) -> bool:
    """Return whether the guideline was fitted on models and computations like this one.

    Each size was trained with about as much computation as suits it, so that the fit lay on a band
    through the ranges of both; within them but off the band, a large model that is trained little,
    it would advise more tokens for the source than the target gets. On the band the source had a
    share of `FITTED_SHARE`.
    """
    share = growth_timing(parameters, flops) * 6 * parameters / flops
    known = (
        *((parameters, FITTED_PARAMETERS), (flops, FITTED_FLOPS)),
        (share, FITTED_SHARE),
    )
    return all(low <= each <= high for each, (low, high) in known)


def advise_growth(
    parameters: float, tokens: float, source_tokens: float | None, factor: float
) -> str:
    """Say in a few lines what the guideline means for a run, as far as it says anything.

    Args:
        parameters: Of the target, without embeddings and head.
        tokens: That the target is trained on.
        source_tokens: That the source was trained on, or None where that is not known.
        factor: The target's parameters over the source's, both without embeddings and head.
    """
    flops = 6 * parameters * tokens
    name = "G_stack's guideline (arXiv:2405.15319)"
    factors = f"advises to grow the parameters by a factor of {FACTOR}; here it is {factor:.2g}."
    if source_tokens is None and not is_fitted(parameters, flops):
        return f"{name} {factors}"
    here = ""
    if source_tokens is not None:
        share = f"{source_tokens / tokens:.0%} of the target's {tokens:.3g}"
        here = f" Tokens of the source here: {source_tokens:.3g} ({share})."
    if is_fitted(parameters, flops):
        advised = growth_timing(parameters, flops)
        timing = f"grow a source of {advised:.3g} tokens ({advised / tokens:.0%} of the target's)"
    else:
        low, high = FITTED_SHARE
        timing = (
            f"not made for this size ({parameters:.2g} parameters, {flops:.2g} FLOPs; fitted on "
            f"{FITTED_PARAMETERS[0]:.2g} to {FITTED_PARAMETERS[1]:.2g} and {FITTED_FLOPS[0]:.2g} "
            f"to {FITTED_FLOPS[1]:.2g} that suit one another); there the source had {low:.0%} to "
            f"{high:.0%} of the target's tokens"
        )
    return f"{name}: {timing}.{here} It {factors}"
