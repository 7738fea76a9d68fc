"""The optimizer, its rate at every step, and its state as named tensors."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lagsearch.models.layers import find_layers
from lagsearch.models.shards import local, own
from lagsearch.space import OPTIMIZERS, Optimizer, OptimizerKind, Schedule

State = dict[str, dict[str, torch.Tensor]]
"""An optimizer's state: by what it keeps (`exp_avg`, say), and by the parameter's name."""

Tensors = Sequence[Mapping[str, torch.Tensor]]
"""Tensors of each source, by name."""

Groups = list[dict[str, Any]]

SHARE = "share_of_rate"
"""What a group of parameters calls the share of the rate that it learns at."""

_FACTORS = ("row_var", "col_var")
_POWERS = {"exp_avg": 1, "momentum_buffer": 1, "exp_avg_sq": 2, "variance": 2}


class Together:
    """Optimizers that share a model's parameters between them, used as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = tuple(parts)

    @property
    def param_groups(self) -> Groups:
        """The groups of all."""
        return [group for each in self.parts for group in each.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Let go of all gradients."""
        for each in self.parts:
            each.zero_grad(set_to_none)

    def step(self) -> None:
        """Update all parameters."""
        for each in self.parts:
            each.step()


AnyOptimizer = torch.optim.Optimizer | Together


def make_optimizer(
    model: nn.Module, settings: Optimizer, shares: Mapping[str, float] | None = None
) -> AnyOptimizer:
    """Make an optimizer: tensors of two dimensions and more decay, vectors do not.

    Muon updates the matrices of the layers; AdamW, at the same rate, embeddings, head and vectors.

    Args:
        model: Whose parameters it updates.
        settings: Which it is.
        shares: The share of the rate that a parameter learns at, where it is not all of it.
    """
    named = [each for each in model.named_parameters() if each[1].requires_grad]
    if settings.name != "muon":
        of_share: dict[float, list[nn.Parameter]] = {}
        for name, parameter in named:
            of_share.setdefault((shares or {}).get(name, 1.0), []).append(parameter)
        made = _make(settings.name, of_share.pop(1.0), settings)
        for share, parameters in of_share.items():
            for group in _groups(parameters, settings):
                made.add_param_group({**group, SHARE: share})
        return made
    stack = find_layers(model, model.config)
    is_hidden = {name: each.dim() == 2 and stack.split(name) is not None for name, each in named}
    hidden = [parameter for name, parameter in named if is_hidden[name]]
    others = [parameter for name, parameter in named if not is_hidden[name]]
    return Together([_make("muon", hidden, settings), _make("adamw", others, settings)])


def _make(
    name: str, parameters: Sequence[nn.Parameter], settings: Optimizer
) -> torch.optim.Optimizer:
    kind = OPTIMIZERS[name]
    options = kind.options(settings)
    if kind.has_gpu_kernel and all(each.device.type == "cuda" for each in parameters):
        options["fused"] = True
    made: torch.optim.Optimizer = getattr(torch.optim, kind.torch_name)(
        _groups(parameters, settings), lr=settings.lr, **options
    )
    return made


def _groups(parameters: Sequence[nn.Parameter], settings: Optimizer) -> Groups:
    groups: Groups = [
        {
            "params": [each for each in parameters if each.dim() >= 2],
            "weight_decay": settings.weight_decay,
        },
        {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def set_rate(optimizer: AnyOptimizer, rate: float) -> None:
    """Let the next update be made at a rate, and parameters with a share of it at that."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SHARE, 1.0)


def shares_of_rate(model: nn.Module, tuned_for: nn.Module) -> dict[str, float]:
    """Return the share of a rate that matrices learn at in a model wider than the rate is for.

    Adam's step has the size of the rate, whatever the gradient; with twice the inputs, a step in
    all of them changes what comes out twice as much. Where units are copies, to the letter: W' is
    W / C, but moves by what W would move by, and not by a C-th of it. So a matrix learns at 1 / C
    of the rate, C being how many times the inputs are: what µP has for hidden matrices and the head
    (arXiv:2203.03466, table 8). An embedding has one input, a token, in every model.

    Args:
        model: The model.
        tuned_for: One of the same kind that the rate is for; its values are not looked at.

    Returns:
        By name, where the share is not one; matrices that no table tells the inputs of are not
        among them.
    """
    stack, narrow = (find_layers(each, each.config) for each in (model, tuned_for))
    shapes = {name: each.shape for name, each in tuned_for.named_parameters()}
    found = {}
    for name, parameter in model.named_parameters():
        weight, place = stack.weight(name), stack.split(name)
        if weight is None or weight.role == "embedding" or weight.input_place is None:
            continue
        same = name if place is None else narrow.join(0, place[1])
        if same in shapes:
            ratio = shapes[same][weight.input_place] / parameter.shape[weight.input_place]
            found[name] = float(ratio)
    return {name: share for name, share in found.items() if share != 1.0}


def learning_rate(step: int, completion: int, peak: float, schedule: Schedule) -> float:
    """Return the rate of the update that follows `step` updates.

    Args:
        step: Updates so far, after growth.
        completion: Updates of the whole training after growth.
        peak: The rate at the end of the warm-up.
        schedule: How it changes; `continued` says how many steps came before growth.
    """
    behind = int(schedule.continued)
    if step < schedule.rewarm_steps:
        whole = schedule.model_copy(update={"rewarm_steps": 0})
        risen = (step + 1) / schedule.rewarm_steps
        return risen * learning_rate(step, completion, peak, whole)
    step, end = step + behind, schedule.total_steps or completion + behind
    if step < schedule.warmup_steps:
        return peak * (step + 1) / schedule.warmup_steps
    if schedule.name == "constant":
        return peak
    if schedule.name == "inverse_sqrt":
        return peak * math.sqrt(max(1, schedule.warmup_steps) / max(1, step))
    share = _left(step, end, schedule)
    return peak * (schedule.final_fraction + (1 - schedule.final_fraction) * share)


def _left(step: int, end: int, schedule: Schedule) -> float:
    """Return the share of the fall that is still to come at a step behind the warm-up: 1 to 0."""
    span = end - schedule.warmup_steps
    if schedule.name == "wsd":
        span = min(span, schedule.decay_steps or max(1, end // 10))
    left = max(0.0, min(1.0, (end - step) / max(1, span)))
    return 0.5 * (1 - math.cos(math.pi * left)) if schedule.name == "cosine" else left


def zero_state(optimizer: AnyOptimizer, model: nn.Module) -> State:
    """Give every parameter the state of step 0; return it."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    made: State = {}
    for part, kind in _parts(optimizer):
        for parameter in (each for group in part.param_groups for each in group["params"]):
            kept = kind.keeps(parameter.dim() >= 2)
            state = {each: torch.zeros_like(_shaped(each, parameter)) for each in kept}
            part.state[parameter] = state
            for each, tensor in state.items():
                made.setdefault(each, {})[names[parameter]] = tensor
    return made


def state_tensors(optimizer: AnyOptimizer, model: nn.Module) -> Mapping[str, torch.Tensor]:
    """Return the optimizer's state as `exp_avg.<parameter>` and so on."""
    states = {key: state for part, _ in _parts(optimizer) for key, state in part.state.items()}
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        for moment, tensor in states.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = tensor
    return tensors


def grow_state(
    optimizer: AnyOptimizer,
    model: nn.Module,
    kept: Callable[[str], Tensors],
    fill: Callable[[Tensors, Mapping[str, torch.Tensor], int], None],
) -> State:
    """Grow the sources' states into that of the target, by the executor that grew the weights.

    Tensors that are copied from no source begin as the optimizer would begin them: at step 0, with
    moments of zero. In wider tensors, which go on, new entries have no first moment, and as their
    second one what is to be expected (`operators/moments.py`). Adafactor's rows and columns of a
    second moment are multiplied out, grown, and factored again. (Where a decay is added to the
    gradient, in `adam` and `sgd`, it is grown as if it were gradient.)

    Args:
        optimizer: The target's.
        model: The target.
        kept: From the name of what is kept, `exp_avg` say, to each source's, by parameter.
        fill: From the sources' tensors to the target's, in place, given how many gradients are
            multiplied in them.

    Returns:
        The target's state, which is the optimizer's own.
    """
    state = zero_state(optimizer, model)
    for name, tensors in state.items():
        sources = kept(name)
        if name not in _FACTORS and all(sources):
            fill(sources, tensors, _POWERS.get(name, 0))
    factors = [kept(name) for name in _FACTORS]
    if "row_var" in state and all(all(sources) for sources in factors):
        whole = [SecondMoments(rows, columns) for rows, columns in zip(*factors, strict=True)]
        parameters = {name: model.get_parameter(name) for name in state["row_var"]}
        grown = {name: torch.zeros_like(each) for name, each in parameters.items()}
        fill(whole, grown, 2)
        for name, tensor in grown.items():
            state["row_var"][name].copy_(tensor.mean(dim=-1, keepdim=True))
            state["col_var"][name].copy_(tensor.mean(dim=-2, keepdim=True))
    return state


def begin_anew(state: State, is_new: Mapping[str, torch.Tensor]) -> None:
    """Let new parameters begin anew, in place, while the source's own go on.

    Tensors that are all new begin at step 0. New entries of others, whose step count and whose
    rows and columns of a second moment are shared, lose their first moment alone: what they keep
    is the second one, as without it their first steps would be too large.

    Args:
        state: A grown state.
        is_new: By the parameter's name: which of its entries are new, or whether all are.
    """
    for kept, tensors in state.items():
        for name, tensor in tensors.items():
            if is_new[name].all():
                tensor.zero_()
            elif _POWERS.get(kept) == 1:
                local(tensor).masked_fill_(own(is_new[name], tensor).to(tensor.device), 0.0)


class SecondMoments(Mapping[str, torch.Tensor]):
    """Adafactor's second moments of matrices, multiplied out when they are asked for.

    Args:
        rows: Means over the columns, by name: (O, 1).
        columns: Means over the rows, by name: (1, I).
    """

    def __init__(
        self, rows: Mapping[str, torch.Tensor], columns: Mapping[str, torch.Tensor]
    ) -> None:
        self._rows, self._columns = rows, columns

    def __getitem__(self, name: str) -> torch.Tensor:
        rows = self._rows[name]
        mean = rows.mean(dim=-2, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        return rows / mean @ self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _parts(optimizer: AnyOptimizer) -> list[tuple[torch.optim.Optimizer, OptimizerKind]]:
    """Return torch's optimizers, and of which kind each is."""
    parts = optimizer.parts if isinstance(optimizer, Together) else (optimizer,)
    kinds = {kind.torch_name: kind for kind in OPTIMIZERS.values()}
    return [(part, kinds[type(part).__name__]) for part in parts]


def _shaped(name: str, parameter: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the shape that something which is kept of a parameter has."""
    value = parameter.detach()
    if name == "step":
        return torch.zeros((), dtype=torch.float32, device=value.device)
    if name == "row_var":
        return value[..., :1]
    return value[..., :1, :] if name == "col_var" else value
