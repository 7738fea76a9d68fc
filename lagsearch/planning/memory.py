"""The memory that training one candidate takes, in closed form."""


def training_bytes(parameters: int, activations: int | None, kept: int) -> int | None:
    """Estimate the bytes of training in fp32: weights, gradients, moments, activations.

    The allocator's own losses are not in it.

    Args:
        parameters: Of the model.
        activations: Bytes that a step keeps of the forward pass, logits with their gradient
            included; None where they are not known.
        kept: Numbers that the optimizer keeps of a weight: 2 for Adam's moments.
    """
    return None if activations is None else 4 * (2 + kept) * parameters + activations


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
