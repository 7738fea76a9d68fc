"""The winner's model card: what it was grown from and how, on what, and how sure that is."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from lagsearch.display.layer_blocks import legend
from lagsearch.hub.card import SourceCard, source_card, write_card
from lagsearch.report.pages.markdown import Passage, escape_markdown, write_markdown
from lagsearch.report.words.growing import losses_grid
from lagsearch.report.words.parts import Grid, Section, code, loss_cell
from lagsearch.report.words.stage import tell_source
from lagsearch.report.words.verdict import judge, judge_courses
from lagsearch.space import Space, dump_yaml
from lagsearch.storage.files import path_of
from lagsearch.storage.published import sentence_without_paths, values_without_paths


def write_winner_card(
    winner: Path,
    report: dict[str, Any],
    space: Space,
    taken: Collection[int],
    schedule: dict[str, Any],
    made_by: tuple[str, str | None],
) -> None:
    """Write the card beside the winner's checkpoint.

    Args:
        winner: Its folder.
        report: As `report.json`, with stages or without.
        space: What was run; its first stage where there are several.
        taken: Places of the sources that the winner was grown from; none for random weights.
        schedule: The space of the winner alone, as plain values.
        made_by: The version of lagsearch when the run began, and its commit where it is known.
    """
    origins = [space.sources[place] for place in sorted(taken)]
    sources = [source_card(each.checkpoint) for each in origins if each.checkpoint]
    texts = [*_origins(space.model_dump(mode="json")["data"])]
    told = _stages(report) if report.get("kind") == "stages" else _growth(report)
    intro = _intro(report, sources, made_by[0], is_grown=bool(taken))
    licences = "\n".join(f"- {each.licence}" for each in sources)
    passages: list[Passage] = [
        intro,
        *told,
        Section("Data", (_data(texts, space, report),)),
        *([Section("Licence", (licences,))] if licences else []),
        Section("Reproduce", (_commands(schedule, *made_by),)),
    ]
    datasets = [each["hub"] for each in texts if each["hub"] and not path_of(each["hub"]).is_dir()]
    write_card(winner, write_markdown(report["name"], passages), sources, datasets=datasets)


def _intro(
    report: dict[str, Any], sources: Sequence[SourceCard], version: str, *, is_grown: bool
) -> str:
    """Say in a sentence what it is."""
    from_what = [each.link for each in sources] or ["a model that was trained for it"]
    made = f"Grown from {' and '.join(from_what)} and trained on" if is_grown else "Trained"
    line = f"{made} by lagsearch {version}"
    if len(report.get("candidates", ("", ""))) < 2:
        return f"{line}."
    return f"{line}, which chose this growth among others by their validation losses."


def _growth(report: dict[str, Any]) -> list[Section]:
    """Tell the growth of a run of one stage, its losses, and whether to believe the choice."""
    name = report["winner"]["name"]
    [winner] = [each for each in report["candidates"] if each["name"] == name]
    maps, chosen = [winner["layer_map"]], winner["settings"].items()
    settings = escape_markdown(", ".join(f"{key} {value}" for key, value in chosen))
    told = f"Operator {code(winner['operator'])}{': ' + settings if settings else ''}; "
    told += f"{winner['parameters']:,} parameters."
    drawn = f"```text\n{maps[0]}\n```\n\n{legend(maps, '`')}."
    return [
        Section("Growth", (drawn, told)),
        Section("Validation loss", ("Nats per predicted token.", losses_grid(report))),
        Section("How sure is this?", (_listed(judge(report).lines),)),
    ]


def _stages(report: dict[str, Any]) -> list[Section]:
    """Tell the growths of a run with stages, under the first seed."""
    stages = report["courses"][0]["stages"]
    rows = [
        [
            f"{each['number']}",
            f"`{each['winner']}`",
            f"`{each['layer_map']}`",
            f"{each['candidates']:,}",
            f"{each['steps']:,}",
            loss_cell(each["val_loss"]),
        ]
        for each in stages
    ]
    head = ["stage", "growth", "layers", "chosen from", "steps", "loss at its end"]
    maps = [each["layer_map"] for each in stages]
    count = f"{stages[-1]['parameters']:,} parameters."
    return [
        Section("Growth", (Grid(head, rows), f"{legend(maps, '`')}. {count}")),
        Section("How sure is this?", (_listed(judge_courses(report)),)),
    ]


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(sentence_without_paths(line))}" for line in lines)


def _data(texts: Sequence[dict[str, Any]], space: Space, report: dict[str, Any]) -> str:
    """Name the texts; of files their names alone."""
    named = [
        each["corpus"]
        or (each["hub"] and " ".join(filter(None, (each["hub"], each["config"], each["split"]))))
        or ", ".join(Path(file).name for file in each["files"])
        for each in texts
    ]
    length, rows = space.data.sequence_length, space.training.batch_size
    lines = [f"Text: {escape_markdown('; '.join(named))}."]
    lines += [f"Objective: {space.objective.name}; {rows} sequences of {length} tokens a step."]
    return "\n\n".join([*lines, *map(tell_source, report.get("sources", ()))])


def _origins(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all origins of text in plain values."""
    if isinstance(value, dict):
        if any(value.get(way) for way in ("corpus", "hub", "files")):
            yield value
        for each in value.values():
            yield from _origins(each)
    elif isinstance(value, list):
        for each in value:
            yield from _origins(each)


def how_to_install(version: str, commit: str | None) -> str:
    """Say how the lagsearch of a run is had: no package index has it, as README says too."""
    at = f", at commit {commit}" if commit else ""
    return f"Install lagsearch {version} by `pip install -e .` in a clone of its repository{at}"


def _commands(schedule: dict[str, Any], version: str, commit: str | None) -> str:
    text = dump_yaml(values_without_paths(schedule)).strip()
    return (
        f"{how_to_install(version, commit)}, then:\n\n"
        "```sh\nlagsearch run schedule.yaml\n```\n\n"
        "The space below, as `schedule.yaml`, is this growth and training without the search. "
        f"Files and folders have their names alone.\n\n```yaml\n{text}\n```"
    )
