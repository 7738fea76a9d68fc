"""The memory that training one candidate takes, in closed form."""


def training_bytes(
    parameters: int, activations: int | None, kept: int, *, has_copies: bool = False
) -> int | None:
    """Estimate the bytes of training: weights, gradients, moments, activations, those in fp32.

    The allocator's own losses are not in it.

    Args:
        parameters: Of the model.
        activations: Bytes that a step keeps of the forward pass, logits with their gradient
            included; None where they are not known.
        kept: Numbers that the optimizer keeps of a weight: 2 for Adam's moments.
        has_copies: Whether autocast has a copy of the weights in bf16 for a pass.
    """
    if activations is None:
        return None
    return (4 * (2 + kept) + 2 * has_copies) * parameters + activations


def sharded_bytes(
    parameters: int,
    gathered: tuple[int, int],
    activations: int | None,
    kept: int,
    devices: int,
    *,
    has_copies: bool = False,
) -> int | None:
    """Estimate the bytes of each of several devices that hold a part of a model each.

    A layer's weights and gradients are whole while it computes, and the weights of the next one
    while they are gathered; what is around the layers is whole all the time.

    Args:
        parameters: Of the model.
        gathered: Of its largest layer, and of what is around the layers.
        activations: See `training_bytes`; those of one device.
        kept: The same.
        devices: How many.
        has_copies: The same.
    """
    if activations is None:
        return None
    layer, around = gathered
    whole = 4 * (3 * layer + 2 * around) + 2 * has_copies * (layer + around)
    return 4 * (2 + kept) * -(-parameters // devices) + whole + activations


def measuring_bytes(parameters: int, decayed: int, *, ema: bool) -> int:
    """Return the bytes of what is set aside of a training while something else is measured.

    A moving average is kept all the time; while it is measured, the model's own weights are set
    aside. A decay that branches off sets aside what it changes. The two come one after the other.

    Args:
        parameters: Of the model.
        decayed: Numbers that a decay changes of a weight, itself and the optimizer's; 0 without.
        ema: Whether there is a moving average.
    """
    return 4 * (ema + max(int(ema), decayed)) * parameters


def learning_bytes(training: int, target: int, sources: int, operator: int, kept: int) -> int:
    """Estimate the bytes of learning an operator, before the target has moments of its own.

    In fp32 there are the target's weights, those that the operator makes and their gradients; the
    sources' weights; the operator's own, their gradients and moments; and the target's
    activations.

    Args:
        training: Bytes of training the target.
        target: Parameters of the target.
        sources: Of all sources.
        operator: Of the operator.
        kept: Numbers that the target's optimizer keeps of a weight.
    """
    activations = training - 4 * (2 + kept) * target
    return activations + 4 * (3 * target + sources + 4 * operator)
