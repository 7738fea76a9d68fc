"""Tiny runs of a benchmark: two settings, one of them in both halves."""

from lagsearch.bench.design import Design


def tiny(half, number=1, **changed):
    values = {
        "number": number,
        "half": half,
        "text": "corpus",
        "tokens": "bytes",
        "objective": "causal",
        "family": "llama",
        "n_sources": 1,
        "source": (2, 16),
        "target": (3, 16),
        "growths": "depth",
        "trained": 4,
        "steps": 12,
        "batch": 4,
        "length": 16,
        "lr": 3e-3,
        "rate": "constant",
        "state": "keep",
        "n_seeds": 1,
        "varies_sources": False,
    }
    return Design(**(values | changed))


DESIGNS = [tiny("choice"), tiny("test"), tiny("choice", 2, n_seeds=2)]
GROWTHS = [
    {"operator": "interleave"},
    {"operator": "identity", "placement": ["stacked", "interleaved"]},
    {"operator": "stack", "noise": 0.3},
    {"operator": "random", "ramp_steps": [0, 4]},
]
