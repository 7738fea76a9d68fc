"""Several devices that train one model, as a space asks for them, and what a plan says of it."""

import pytest

import lagsearch
from lagsearch.errors import SpaceError
from lagsearch.models.configs import rebuild_config

SEVERAL = "resources={devices_per_candidate: 4, parallel: fsdp}"


def planned(path, *overrides):
    return lagsearch.plan(path, overrides=overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["resources={parallel: fsdp}"], "resources.parallel.*no effect with one device"),
        (
            ["resources={winner: {devices: 1, parallel: ddp}}"],
            "resources.winner.parallel.*no effect",
        ),
        (
            ["resources={devices_per_candidate: 2, gpus_per_candidate: 0.5}"],
            "gpus_per_candidate 0.5.*is 1 for each of several devices",
        ),
        ([SEVERAL, "training.optimizer={name: muon}"], "muon makes whole matrices.*take ddp"),
        ([SEVERAL, "training.optimizer={name: adafactor}"], "adafactor keeps means over whole"),
        (
            ["resources={sources: {devices: 2, parallel: fsdp}}", "training.compile=true"],
            "training.compile true: is not to be had with parallel fsdp",
        ),
        (
            ["resources={winner: {devices: 3}}", "training.gradient_accumulation=2"],
            r"resources.winner.devices 3: leaves devices without a sequence: a step has 4, in 2",
        ),
        (
            [SEVERAL, "candidates=[{operator: stack-ligo}]", "target={num_hidden_layers: 6}"],
            "resources.parallel.*stack-ligo learns how weights are mixed.*take ddp",
        ),
        (
            [SEVERAL, "trainer={command: 'train {checkpoint} {out} {steps} {total_steps}'}"],
            "devices_per_candidate 4: belongs to lagsearch's own loop",
        ),
    ],
)
def test_what_several_devices_cannot_do_is_said_in_a_line(write_space, overrides, message):
    with pytest.raises(SpaceError, match=message) as raised:
        planned(write_space(), *overrides)
    assert "\n" not in str(raised.value)


def test_ddp_takes_what_fsdp_cannot(write_space):
    for each in ("training.optimizer={name: muon}", "training.compile=true"):
        planned(write_space(), "resources={devices_per_candidate: 4}", each)


def test_memory_is_that_of_each_device(write_space):
    """With fsdp 16 bytes a weight, in parts, and two pieces whole; with ddp fewer sequences."""
    ways = ["training.batch_size=1", "resources={devices_per_candidate: 4}", SEVERAL]
    of_one, ddp, fsdp = [
        [each.cost.memory_bytes for each in planned(write_space(), way).candidates] for way in ways
    ]
    alone = planned(write_space())
    sizes = alone.stages[0].planner.models.of(rebuild_config(alone.candidates[0].config)).sizes
    layer = sum(each.numel() for name, each in sizes.tensors.items() if ".layers.0." in name)
    around = sizes.parameters - 4 * layer
    kept = ddp[0] - 16 * sizes.parameters
    assert ddp == of_one  # one sequence in place of four
    assert fsdp[0] == 16 * sizes.parameters / 4 + 12 * layer + 8 * around + kept


def test_a_plan_says_who_trains_together(write_space):
    asked = "resources={devices_per_candidate: 2, winner: {devices: 4, parallel: fsdp}}"
    [remark] = planned(write_space(), asked).stages[0].remarks
    assert remark.startswith(
        "devices that train a model together, of one machine or of several nodes of a cluster: "
        "each candidate and each source on 2 (ddp); "
        "the winner on 4 (fsdp); those of a candidate need about"
    )
    assert not planned(write_space()).stages[0].remarks
