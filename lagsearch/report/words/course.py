"""The report of several stages, part by part, as paragraphs and tables."""

from typing import Any

from lagsearch.report.numbers.view import adaptive_courses, first_seed_courses
from lagsearch.report.words.parts import Grid, Part, Quotes, Section, code
from lagsearch.report.words.verdict import interval


def course_sections(report: dict[str, Any]) -> list[Section]:
    """Return the parts in reading order."""
    found = [_courses(report), _choices(report), _ancestry(report), _cost(report)]
    return [*found, _files(report)]


def _courses(report: dict[str, Any]) -> Section:
    """Return the table of what is compared, at equal steps and at equal FLOPs."""
    seeds = report["seeds"]
    rows = []
    for row in report["table"]:
        mean = row["val_loss"]
        spread = "" if mean["low"] is None else f"{mean['low']:.4f} to {mean['high']:.4f}"
        rows.append(
            [
                code(row["course"]),
                row["says"],
                f"{mean['value']:.4f}",
                spread,
                *_behind(row),
                f"{row['spent']:.2e}",
            ]
        )
    loss = f"{'mean ' if len(seeds) > 1 else ''}loss at step {report['steps']:,}"
    head = ["course", "how it grows", loss, "95 %"]
    head += ["minus adaptive", "95 %", "minus adaptive at equal FLOPs", "95 %"]
    head += ["FLOPs, search and sources included"]
    notes = [
        f"Every course is trained {report['steps']:,} steps on the same batches"
        + (f", under each of the seeds {', '.join(map(str, seeds))}." if len(seeds) > 1 else "."),
        "95 %: Student's t intervals over the seeds; differences are paired by seed."
        if len(seeds) > 1
        else "With one seed, intervals of differences are over the validation batches: they cover "
        "the noise of measurement, not what another seed would change.",
        "At equal FLOPs, both are read at the smaller of the two costs, interpolated between "
        "evaluations. The search is charged to adaptive where each stage begins, the training of "
        "the sources to every course that grows them. Adaptive is then read before its final "
        "step, where a decaying learning rate has not decayed yet.",
    ]
    missing = [f"`{name}` is missing: {why}" for name, why in report["missing"].items()]
    parts: list[Part] = [Grid(head, rows), " ".join(notes)]
    return Section("Courses", tuple([*parts, Quotes(missing)] if missing else parts))


def _behind(row: dict[str, Any]) -> list[str]:
    if "behind" not in row:
        return [""] * 4
    found = []
    for each in (row["behind"], row["behind_at_equal_flops"]):
        found += [f"{each['value']:+.4f}", "" if each["low"] is None else interval(each)]
    return found


def _choices(report: dict[str, Any]) -> Section:
    """Return what was chosen in each stage, from what, by how much and how surely."""
    rows = []
    for course in adaptive_courses(report):
        for stage in course["stages"]:
            rows.append(
                [
                    *([str(course["seed"])] if len(report["seeds"]) > 1 else []),
                    str(stage["number"]),
                    f"{stage['begins']:,}",
                    str(stage["depth"]),
                    code(stage["winner"]),
                    code(stage["layer_map"]),
                    *_choice(stage),
                    f"{stage['val_loss']:.4f}",
                ]
            )
    seed = ["seed"] if len(report["seeds"]) > 1 else []
    head = [*seed, "stage", "from step", "depth", "winner", "layers", "candidates"]
    head += ["K", "loss at K", "ahead of the second", "best to worst", "tied", "final loss"]
    note = (
        "Layers are numbered as in the stage before: `*` a new copy, `R` a random layer. Tied: "
        "candidates that cannot be told apart from the winner at K (paired t-test over the "
        "validation batches, Holm-corrected, 5 %). The report of each stage, in its folder, ranks "
        "all candidates."
    )
    return Section("Stage by stage", (Grid(head, rows), note))


def _choice(stage: dict[str, Any]) -> list[str]:
    if stage["lag"] is None:
        return [str(stage["candidates"]), "", "", "", "", ""]
    ahead = stage["ahead_of_next"]
    return [
        str(stage["candidates"]),
        f"{stage['lag']:,}",
        f"{stage['val_loss_at_lag']:.4f}",
        "" if ahead is None else f"{ahead:.4f}",
        f"{stage['spread']:.4f}",
        str(len(stage["tied"])),
    ]


def _ancestry(report: dict[str, Any]) -> Section:
    """Return which layer of the final model came from where, through all stages."""
    rows = []
    for course in first_seed_courses(report):
        for stage in course["stages"]:
            rows.append([code(course["name"]), str(stage["number"]), code(stage["layers"])])
    note = (
        "Each layer by the layer of the first stage's model, or of the source, that it descends "
        f"from; `*`: added in this stage. From the embedding up{_first_seed(report)}."
    )
    return Section("Genealogy", (Grid(["course", "stage", "layers"], rows), note))


def _first_seed(report: dict[str, Any]) -> str:
    return f"; seed {report['seeds'][0]}" if len(report["seeds"]) > 1 else ""


def _cost(report: dict[str, Any]) -> Section:
    """Return what the search took against the whole training."""
    found = report["cost"]
    rows = [
        *_sources(found),
        ["training through all stages", f"{found['steps']:,}", f"{found['training_flops']:.2e}"],
        ["search: candidates that did not win", f"{found['extra_steps']:,}", _share(found)],
    ]
    stages = adaptive_courses(report)[0]["stages"]
    counted = [each for each in stages if each["lag"] is not None]
    terms = " + ".join(f"{each['candidates'] - 1} x {each['lag']:,}" for each in counted) or "0"
    whole = sum((each["candidates"] - 1) * each["lag"] for each in counted)
    equals = (
        f"= {whole:,}"
        if whole == found["extra_steps"]
        else (
            f"= {whole:,}, of which {found['extra_steps']:,} were trained: others failed or were "
            "stopped"
        )
    )
    notes = [
        f"Of adaptive{_first_seed(report)}. Search: candidates that did not win, times K, over the "
        f"stages: {terms} {equals} steps.",
        f"All courses and seeds: {found['all_courses_flops']:.2e} training FLOPs.",
    ]
    return Section("Cost", (Grid(["training", "steps", "training FLOPs"], rows), " ".join(notes)))


def _sources(found: dict[str, Any]) -> list[list[str]]:
    """Return the row of the sources' training, where there are any."""
    spent = found["source_flops"]
    shown = "not known, as of every checkpoint" if spent is None else f"{spent:.2e}"
    return [] if spent == 0 else [["training of the sources", "", shown]]


def _share(found: dict[str, Any]) -> str:
    share = found["search_flops"] / found["training_flops"]
    return f"{found['search_flops']:.2e}, {share:.1%} of the training"


def _files(report: dict[str, Any]) -> Section:
    """Return what lies where."""
    several = "; of the other seeds: schedule@<seed>.yaml" if len(report["seeds"]) > 1 else ""
    return Section(
        "Files",
        (
            Quotes(
                [
                    "schedule.yaml: what was chosen, as a space that repeats it without the "
                    f"search{several}",
                    f"winner/: the final model as a Hugging Face checkpoint{_first_seed(report)}",
                    "<course>/stage-<n>/: a run folder for each stage; one with stage.json alone "
                    "names the folder of the same training in another course",
                    "figures/: PNG, SVG and PDF; tables/*.csv: their numbers",
                ]
            ),
        ),
    )
