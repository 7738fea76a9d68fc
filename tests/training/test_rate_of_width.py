"""A rate that is for the source's width: from the space to the curves."""

import pytest

from lagsearch import load_space, run

WIDER = [
    "target={hidden_size: 32, intermediate_size: 64, num_attention_heads: 4, "
    "num_key_value_heads: 2}",
    "candidates=[{operator: net2net}]",
    "training.optimizer={name: adamw, lr: 3e-3, weight_decay: 0.0, eps: 1e-20}",
    "training.gradient_clip=null",
    "training.schedule={name: constant}",
    "sources[0].pretrain.config.tie_word_embeddings=false",
    "evaluation.thin=false",
]


@pytest.mark.parametrize("tuned", [True, False])
def test_copied_units_learn_as_the_source_does_ungrown(write_space, tmp_path, tuned):
    """Its baseline sees the same batches: two curves that are one, where the rate is for it."""
    more = ["training.optimizer.lr_tuned_for=source"] if tuned else []
    result = run(
        load_space(write_space(), [*WIDER, *more]), out=tmp_path / "run", serial=True, oracle=True
    )
    curves = result.curves.pivot(index="step", columns="candidate", values="val_loss")
    apart = (curves["net2net"] - curves["continue"]).abs()
    assert apart[0] < 1e-5
    assert apart.max() < 1e-3 if tuned else apart.max() > 1e-2
