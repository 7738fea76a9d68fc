"""The model card of a grown checkpoint: short, for nothing was trained."""

from importlib.metadata import version
from pathlib import Path

from lagsearch.display.layer_blocks import legend
from lagsearch.grow.growth import Growth
from lagsearch.hub.card import source_card, write_card


def write_grown_card(growth: Growth, out: Path, function: str) -> None:
    """Write what was grown from what.

    The source's own card is not copied, for it tells of another model: what it says of licence and
    language is taken over, and it is linked to.

    Args:
        growth: What was grown into what.
        out: The grown checkpoint.
        function: What the growth changed of what the model computes, in words.
    """
    sources = [source_card(name) for name in growth.names]
    drawn = growth.plan.layer_map()
    lines = [
        f"# Grown from {' and '.join(each.link for each in sources)}",
        f"```text\n{drawn}\n```",
        f"{legend([drawn], '`')}.",
        f"Grown by `lagsearch grow` {version('lagsearch')}, {growth.asked}; not trained since: "
        f"{function}.",
        *(each.licence for each in sources),
    ]
    write_card(out, "\n\n".join(lines), sources, is_renewed=False)
