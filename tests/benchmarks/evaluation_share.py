"""What evaluation takes of the training of a search, in the committed spaces.

    python tests/benchmarks/evaluation_share.py [--train 400] [--fp32 50] [--bf16 400] [SPACES ...]

Rates are in TFLOP/s: of training in bf16, of evaluation in fp32 and in bf16. By default those that
are assumed of one H100: 400 and 50, and evaluation in bf16 no faster than training. `before` has as
many sequences in a validation batch as in a training step, all batches at every step, and fp32;
`after` is what the space says today, in the precision of training. `FLOPs` is the share where both
have one rate, as on CPUs. Evaluations and training are those of all candidates up to K, of all
stages; nothing is trained. No test calls it.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

import lagsearch

SPACES = Path(__file__).parents[2] / "search_spaces"

BEFORE = ["evaluation.thin=false", "evaluation.tokens=1000000000000"]


def flops(space: Path, overrides: list[str]) -> tuple[int, int]:
    """Return the FLOPs of the evaluations and of the training of a search."""
    stages = lagsearch.plan(space, overrides=overrides).stages
    searched = [each for each in stages if len(each.candidates) > 1]
    return (
        sum(each.evaluation_flops() for each in searched),
        sum(each.search_flops() for each in searched),
    )


def main() -> None:
    """Show the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spaces", nargs="*", type=Path)
    for name, rate in (("train", 400), ("fp32", 50), ("bf16", 400)):
        parser.add_argument(f"--{name}", type=float, default=rate)
    asked = parser.parse_args()
    table = Table(box=None, pad_edge=False)
    table.add_column("space", no_wrap=True)
    for heading in ("FLOPs before", "after", "GPU before", "after", "over 15 %"):
        table.add_column(heading, justify="right")
    for space in asked.spaces or sorted(SPACES.glob("*.yaml")):
        (before, training), (after, _) = flops(space, BEFORE), flops(space, [])
        shares = before / training, after / training
        on_gpu = shares[0] * asked.train / asked.fp32, shares[1] * asked.train / asked.bf16
        is_over = "yes" if on_gpu[1] > 0.15 else ""
        table.add_row(space.stem, *(f"{share:.1%}" for share in (*shares, *on_gpu)), is_over)
    Console().print(table)


if __name__ == "__main__":
    main()
