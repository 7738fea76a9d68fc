"""What `lagsearch operators` writes: all of them in a table, or all that is to be said of one."""

from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table

from lagsearch.display.console import make_console, plain
from lagsearch.display.layer_blocks import legend
from lagsearch.display.screen import write
from lagsearch.operators import Operator, all_operators, find_operator
from lagsearch.operators.described import (
    SOURCE_LAYERS,
    TARGET_LAYERS,
    Setting,
    example_entry,
    paragraphs,
    settings_of,
    small_growth,
    source_of,
)
from lagsearch.space import dump_flow

_NARROW = 60
"""Columns below which the table says less."""


def show_operators() -> None:
    """Show all operators in a table, in a narrow terminal without what they grow."""
    console = make_console()
    is_narrow = console.width < _NARROW
    table = Table("operator", *([] if is_narrow else ["grows"]), "what it does", box=None)
    table.columns[0].no_wrap = True
    for each in all_operators():
        names = ", ".join(each.settings.model_fields)
        told = f"{each.summary} Settings: {names}." if names else each.summary
        table.add_row(each.name, *([] if is_narrow else [each.grows]), plain(told))
    console.print(table)
    console.print("\n`lagsearch operators NAME` shows settings, an example and a growth of one.")


def show_operator(name: str) -> None:
    """Show all that is to be said of one operator, as wide as the terminal.

    Raises:
        OperatorError: There is none of that name.
    """
    found = find_operator(name)
    console = make_console()
    console.print(f"{found.name}\n")
    for paragraph in paragraphs(found):
        console.print(f"{paragraph}\n")
    facts = {"grows": found.grows, "preserves the function": found.preserves, "paper": found.paper}
    facts |= {"sources": found.takes} if found.takes == "several" else {}
    console.print(_grid(facts))
    if source := source_of(found):
        console.print(f"\n{source}")
    console.print("\nSettings")
    settings = settings_of(found)
    for each in settings:
        console.print(Padding(_setting(each), (0, 0, 0, 2)))
    if not settings:
        console.print("  none")
    console.print("\nIn a space, below `candidates:`")
    write(f"  - {dump_flow(_listed(example_entry(found)))}")
    _show_growth(found, console)


def _setting(setting: Setting) -> Group:
    is_required = setting.default is None
    told = "required" if is_required else f"{setting.default} when left out"
    head = f"{setting.name}: {setting.kind}; {told}"
    return Group(plain(head), Padding(plain(setting.meaning), (0, 0, 0, 4)))


def _listed(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as a space has it, where a list stands for several candidates."""
    return {key: [value] if isinstance(value, list) else value for key, value in entry.items()}


def _show_growth(operator: Operator, console: Any) -> None:
    """Draw a growth that is really planned, the example's."""
    candidate = small_growth(operator)
    drawn, _, width = candidate.plan.layer_map().partition(" [")
    n_layers = len(drawn.split())
    begins = f"{SOURCE_LAYERS} layers"
    if operator.takes == "several":
        begins = f"two sources, a and b, of {TARGET_LAYERS // 2} layers each"
    console.print(f"\nThat is `{candidate.name}`. From {begins} to {n_layers}:")
    console.print(f"  {drawn}")
    if width:
        console.print(f"  and in width, {width.removesuffix(']').replace('-', ' to ')}")
    console.print(f"{legend([drawn])}.")


def _grid(facts: dict[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        grid.add_row(plain(key), plain(value))
    return grid
