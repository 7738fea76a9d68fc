"""Families beside the first seven: what each can grow into, exactly."""

import sys
from pathlib import Path

import pytest
import torch

from lagsearch.errors import OperatorError

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from function_preservation import OTHERS, grow

POST_NORM = ("distilbert", "electra")
NO_WIDTH = ("gemma2", "gemma3_text", "olmo2", "falcon")
TOKENS = torch.arange(24).reshape(2, 12) * 7 % 40


def difference(family, name, settings, grows):
    source, target, _ = grow(family, name, settings, grows)
    with torch.no_grad():
        return float((source(TOKENS).logits - target(TOKENS).logits).abs().max())


@pytest.mark.parametrize("family", OTHERS)
def test_identity_is_exact_where_norms_come_first(family):
    if family in POST_NORM:
        with pytest.raises(OperatorError, match="identity cannot be exact"):
            difference(family, "identity", {}, "depth")
    else:
        assert difference(family, "identity", {}, "depth") <= 1e-10
        assert difference(family, "stack", {}, "depth") > 1e-3


@pytest.mark.parametrize("family", OTHERS)
def test_copies_of_units_are_exact_or_refused_with_the_reason(family):
    if family in NO_WIDTH:
        with pytest.raises(OperatorError, match=f"cannot grow {family} in width: its|a norm"):
            difference(family, "net2net", {}, "x2")
    else:
        assert difference(family, "net2net", {}, "x2") <= 1e-10
