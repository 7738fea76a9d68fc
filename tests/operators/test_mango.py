"""MANGO's factors: against the formula in one piece, and against what they begin as."""

import pytest
import torch
from test_learned import (
    DEEPER,
    EXACT,
    assert_same_bits,
    grow,
    make_plan,
    make_source,
    state,
    wider,
)

from lagsearch.errors import OperatorError
from lagsearch.models.families import Family, Weight
from lagsearch.models.layers import LayerStack
from lagsearch.operators import GrowthPlan
from lagsearch.operators.execute.mix import make_mix
from lagsearch.operators.plan.growth import LayerOrigin
from lagsearch.operators.plan.learned import Learned
from lagsearch.operators.plan.width import Lift, Width

NAMES = ["llama", "llama-tied", "qwen3", "gpt2", "bert"]


def source_of(name):
    return make_source(name, **{"n_inner" if name == "gpt2" else "intermediate_size": 32})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("init", ["stack", "interleave"])
def test_in_depth_it_begins_as_stack_or_interleave(name, init):
    mixed, _, _ = grow(name, "mango", DEEPER, init=init, **EXACT)
    plain, _, _ = grow(name, init, DEEPER)
    assert_same_bits(state(mixed), state(plain))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", [1, 2])
def test_in_doubled_width_it_begins_as_the_same_function(name, rank):
    source = source_of(name)
    noise = 0.0 if rank == 1 else 1e-6
    target, _, _ = grow(
        name, "mango", wider(name, ffn=64), [source], rank=rank, steps=0, noise=noise
    )
    tokens = torch.arange(18).reshape(2, 9) * 5 % 32
    with torch.no_grad():
        difference = (source(tokens).logits - target(tokens).logits).abs().max()
    assert difference < 1e-3


def test_the_formula_in_one_piece():
    """Two layers of a reader and a writer of 4 units on a stream of 2, with rank 2."""
    family = Family(
        "toy",
        ("toy",),
        layer=(
            Weight("reads", ("ffn", "residual"), "reader"),
            Weight("writes", ("ffn", "residual"), "writer"),  # stored input first
            Weight("gain", ("residual",), "norm"),
            Weight("bias", ("ffn",), "reader"),
        ),
        bottom=(),
        top=(),
        norm="rms",
    )
    stack, one = LayerStack("h", family=family), Lift(1, 1, 1)
    layers = tuple(LayerOrigin(layer=each % 2, treatment="learned") for each in range(3))
    plan = GrowthPlan(
        layers,
        width=Width(Lift(2, 3, 3), one, one, Lift(4, 6, 6)),
        learned=Learned(((0, 0), (0, 1)), 0, 0.1, 0, 0.1, method="mango", rank=2),
    )
    draw = torch.Generator().manual_seed(0)
    shapes = {"reads": (4, 2), "writes": (4, 2), "gain": (2,), "bias": (4,)}
    wide = {"reads": (6, 3), "writes": (6, 3), "gain": (3,), "bias": (6,)}
    source = {
        f"h.{layer}.{name}": torch.randn(shape, generator=draw, dtype=torch.float64)
        for layer in range(2)
        for name, shape in shapes.items()
    }
    target = {
        f"h.{layer}.{name}": torch.empty(shape)
        for layer in range(3)
        for name, shape in wide.items()
    }
    mix = make_mix(plan, stack, [source], target)
    factors = {
        name: torch.randn(shape, generator=draw, dtype=torch.float64)
        for name, shape in mix.sizes.parameters().items()
    }
    made = mix(factors)
    slices = [
        torch.stack(
            [
                source[f"h.{layer}.reads"][:2],
                source[f"h.{layer}.reads"][2:],
                source[f"h.{layer}.writes"][:2].T,  # outputs first
                source[f"h.{layer}.writes"][2:].T,
            ]
        )
        for layer in range(2)
    ]
    expected = torch.einsum(
        "mbcq,qpor,rtls,snim,lboi->tcpn",
        *(factors[name] for name in ("S_B", "S_O", "S_L", "S_I")),
        torch.stack(slices),
    )
    for layer in range(3):
        reads = torch.cat([expected[layer, 0], expected[layer, 1]])
        writes = torch.cat([expected[layer, 2].T, expected[layer, 3].T])
        torch.testing.assert_close(made[f"h.{layer}.reads"], reads)
        torch.testing.assert_close(made[f"h.{layer}.writes"], writes)
        row, out = factors["S_L"][0, layer, :, 0], factors["S_O"][0, :, :, 0]
        gain = row[0] * source["h.0.gain"] + row[1] * source["h.1.gain"]
        torch.testing.assert_close(made[f"h.{layer}.gain"], out @ gain)
        bias = row[0] * source["h.0.bias"] + row[1] * source["h.1.bias"]
        torch.testing.assert_close(
            made[f"h.{layer}.bias"], torch.cat([out @ bias[:2], out @ bias[2:]])
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", [1, 2])
def test_gradients_reach_every_factor(name, rank):
    """Off the first bonds two factors are zero: the other two follow from the second step on."""
    _, mix, _ = grow(name, "mango", wider(name, layers=6), rank=rank, noise=0.1)

    def step(factors):
        factors = {key: value.requires_grad_() for key, value in factors.items()}
        draw = torch.Generator().manual_seed(0)
        made = mix(factors).values()
        sum((value * torch.randn(value.shape, generator=draw)).sum() for value in made).backward()
        return {key: value.grad for key, value in factors.items()}

    start = mix.start(5)
    assert_same_bits(mix.start(5), start)
    first = step(start)
    assert all(first[key].abs().min() > 0 for key in ("S_B", "S_L"))
    moved = {key: (value - 1e-3 * first[key]).detach() for key, value in start.items()}
    assert all(gradient.abs().min() > 0 for gradient in step(moved).values())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gpt_neox", {}, "has query, key and value fused head by head"),
        ("llama", {"rank": 2, "noise": 0.0}, "a rank above 1 needs noise"),
        ("llama", {"rank": 0}, "rank must be greater than or equal to 1"),
    ],
)
def test_what_it_cannot_do_is_refused(name, settings, message):
    with pytest.raises(OperatorError, match=message):
        make_plan([make_source(name)], "mango", DEEPER, **settings)
