"""`report.html`: the report as one file for a browser, which needs no network."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from lagsearch.display.watch import clock
from lagsearch.report.numbers.trust import HEADLINES, Trust
from lagsearch.report.numbers.view import (
    behind,
    beside,
    evidence,
    first_step,
    has,
    has_average_column,
    judged,
    noun,
    ranked,
    signal_column,
    steps_axis,
    stopped,
    tied,
    titled,
    varied,
)
from lagsearch.report.numbers.worth import judge_growing
from lagsearch.report.pictures.as_plotly import Chart, chart
from lagsearch.report.pictures.stage import stage_pictures
from lagsearch.report.pictures.style import DARK, LIGHT
from lagsearch.report.words.stage import (
    Grid,
    Points,
    Section,
    sections,
    tell_source,
)
from lagsearch.report.words.verdict import advise, judge

FEEL: dict[Trust, str] = {
    "useful": "good",
    "settled": "good",
    "partly": "doubtful",
    "unknown": "doubtful",
    "open": "doubtful",
    "unsettled": "doubtful",
    "misleading": "bad",
}
"""The colour that a verdict has, beside its words."""


def write_html(report: dict[str, Any], folder: Path) -> str:
    """Return the page.

    All text of a run is escaped, or stands in JSON that the script writes as text. The scripts are
    named by their hashes, so that no other one runs; and nothing may be loaded or sent.

    Args:
        report: As `report.json`.
        folder: The run folder, as in commands.
    """
    drawn = [chart(each) for each in stage_pictures(report)]
    shown = {"ranking": _table(report), "charts": drawn, "over": steps_axis(report)}
    return charted(report["name"], _body(report, folder, drawn), shown, "ranking.js")


def charted(title: str, body: Sequence[str], shown: Mapping[str, Any], *names: str) -> str:
    """Return a page with charts.

    Args:
        title: As text.
        body: As HTML, with a place for each chart (`chart_figure`) and a header (`header`, with
            `THEME`).
        shown: What the scripts draw: `charts`, what their steps are `over`, and what is their own.
        names: Scripts beside that of the charts.
    """
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), *map(asset, ("charts.js", *names))]
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    told = _json({**shown, "themes": {"light": LIGHT, "dark": DARK}})
    parts = [
        *body,
        '<noscript><p class="note">Tables that sort and charts need JavaScript; report.md reads '
        "alone.</p></noscript>",
        f'<script type="application/json" id="data">{told}</script>',
        *(f"<script>{script}</script>" for script in scripts),
    ]
    return framed(title, "\n".join(parts), f"script-src {hashes}; img-src data: blob:")


def framed(title: str, body: str, policy: str = "img-src data:") -> str:
    """Return a page that loads and sends nothing.

    Args:
        title: As text.
        body: As HTML.
        policy: What it may hold beside styles of its own, as a content security policy.
    """
    style = colors() + asset("report.css")
    page = Template(asset("page.html"))
    return page.substitute(title=escape(title), style=style, body=body, policy=policy)


def headed(title: str, facts: str, body: str) -> str:
    """Return a page without scripts: title and facts as text, below them HTML."""
    return framed(title, f"{header(title, facts)}\n<main>\n{body}\n</main>")


def asset(name: str) -> str:
    """Return a text that lies beside this module."""
    return (files("lagsearch.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(value: Any) -> str:
    """Write JSON that may stand in a script element whatever is in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def colors() -> str:
    """Return the colours as variables: by the system's wish, or by the reader's."""
    light, dark = (
        "".join(f"--{name}:{color};" for name, color in theme.items()) for theme in (LIGHT, DARK)
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light])"
        f"{{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def _body(report: dict[str, Any], folder: Path, drawn: list[Chart]) -> list[str]:
    told, by_id = sections(report), {each["id"]: each for each in drawn}
    importance = [name for name in by_id if name.startswith(("importance", "marginal"))]
    priced = ["loss_and_flops"]
    groups: list[tuple[str, str, list[str], list[str]]] = [
        ("left_out", "Left out", [], ["left_out"]),
        ("curves", "Loss", ["loss", "difference"], []),
        ("growing", "Is growing worth it?", [], ["growing"]),
        (
            "worth",
            "What the ranking was worth",
            ["early_0", "early_lag", "rank_correlation", "spearman", "recall", "regret"],
            ["strategies", "scores"],
        ),
        ("importance", "Importance of the settings", importance, ["importance"]),
        ("savings", "What growing saves", priced if report["savings"] else [], ["savings"]),
        ("objective", "The parts of the objective", [], ["objective"]),
        ("downstream", "Downstream tasks", [], ["downstream"]),
        ("cost", "Cost", ["cost"] if report["savings"] else ["cost", *priced], ["cost"]),
        ("times", "Where the time goes", [], ["times"]),
        ("files", "Sources and files" if report["sources"] else "Files", [], ["files"]),
    ]
    found = [
        (key, title, [by_id[each] for each in ids if each in by_id], names)
        for key, title, ids, names in groups
        if any(each in by_id for each in ids) or any(name in told for name in names)
    ]
    links = [("ranking", "Ranking"), *((key, title) for key, title, _, _ in found)]
    parts = [
        _header(report),
        navigation(links),
        "<main>",
        _verdict(report, folder),
        _ranking(report),
    ]
    for key, title, shown, names in found:
        inner = [f'<div class="charts">{"".join(map(chart_figure, shown))}</div>'] if shown else []
        if key == "files":
            inner += [f"<p>{_inline(tell_source(each))}</p>" for each in report["sources"]]
        for name in names:
            if name in told:
                inner.append(html_section(told[name], title))
        parts.append(f'<section id="{key}"><h2>{escape(title)}</h2>{"".join(inner)}</section>')
    return [*parts, "</main>"]


def _header(report: dict[str, Any]) -> str:
    seeds = ", ".join(map(str, report["seeds"]))
    facts = [
        f"{len(report['candidates']):,} candidates",
        f"ranked at step K = {report['lag']:,} of {report['steps']:,}",
        f"seed {seeds}" if len(report["seeds"]) == 1 else f"seeds {seeds}",
        "all trained to completion" if report["oracle"] else "without an oracle",
    ]
    return header(report["name"], " · ".join(facts), THEME)


THEME = '<button id="theme" type="button" aria-label="Dark or light">◐</button>'
"""For a page with charts: their script changes what it shows."""


def header(title: str, facts: str, more: str = "") -> str:
    """Return the head of a page: title and facts as text, then HTML."""
    return f"<header><div><h1>{escape(title)}</h1><p>{escape(facts)}</p></div>{more}</header>"


def navigation(links: list[tuple[str, str]]) -> str:
    """Return links to the sections of a page, by their ids and titles."""
    return (
        "<nav>" + "".join(f'<a href="#{key}">{escape(each)}</a>' for key, each in links) + "</nav>"
    )


def _verdict(report: dict[str, Any], folder: Path) -> str:
    verdict, advice, best = judge(report), advise(report, folder), report["candidates"][0]
    tiles = "".join(
        f'<div class="tile"><h3>{escape(head)}</h3><p class="figure">{escape(figure)}</p>'
        f"<p>{escape(note)}</p></div>"
        for head, figure, note in _tiles(report)
    )
    doubts = [each.line for each in judge_growing(report) if not each.pays]
    lines = "".join(f"<li>{escape(line)}</li>" for line in verdict.lines if line not in doubts)
    first = "".join(f'<p class="first">{escape(line)}</p>' for line in doubts)
    return (
        f'<section id="verdict" class="{FEEL[verdict.trust]}">{first}'
        f'<p class="badge">{escape(HEADLINES[verdict.trust])}</p>'
        f"<h2><small>Winner</small> {escape(titled(best))}</h2>"
        f"{_winner_map(best)}"
        f'<div class="tiles">{tiles}</div><ul>{lines}</ul>'
        f'<div class="next"><h3>Next</h3><p>{escape(advice.line)}</p>'
        f"{_command(advice.command)}</div></section>"
    )


def _winner_map(best: dict[str, Any]) -> str:
    if best["layer_map"] is None:
        return ""
    return f'<div class="winner-map" data-map="{escape(best["layer_map"])}"></div>'


def _command(command: str | None) -> str:
    if command is None:
        return ""
    code = f"<pre><code>{escape(command)}</code></pre>"
    return f'{code}<button class="copy" type="button">Copy</button>'


def _tiles(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the numbers that a reader wants first: a heading, the number, and a remark."""
    lag, steps, best = str(report["lag"]), str(report["steps"]), report["candidates"][0]
    at_lag, error = best["val_loss"][lag], best["val_loss_se"].get(lag)
    final = best["val_loss"].get(steps)
    told = f"nats per token{f' ± {error:.4f}' if error else ''}"
    if final is not None and lag != steps:
        told += f"; {final:.4f} at step {int(steps):,}"
    tiles = [
        (f"Loss at step {int(lag):,}", f"{at_lag:.4f}", told),
        _ahead(report),
        _sure(report),
    ]
    return [*tiles, _spent(report)] if report["cost"] else tiles


def _spent(report: dict[str, Any]) -> tuple[str, str, str]:
    cost = report["cost"]
    spent = cost["search_flops"] + cost["winner_flops"]
    wall = cost["wall_s"]
    time = clock(wall.get("search", 0.0) + wall.get("winner", 0.0))
    return (
        "Cost of search and winner",
        f"{spent / cost['oracle_flops']:.0%} of training all",
        f"{spent:.2e} training FLOPs, {cost['evaluation_flops']:.2e} for evaluations; took {time}"
        + (", all trained to completion" if report["oracle"] else ""),
    )


def _ahead(report: dict[str, Any]) -> tuple[str, str, str]:
    found, beaten = ranked(report), len(stopped(report))
    also = f"; {beaten:,} were stopped" if beaten else ""
    gap = behind(report, found[1]) if len(found) > 1 else None
    if gap is None:
        return ("Ahead by", "no other", f"no other candidate came to the ranking{also}")
    ties = f"; {len(tied(report)):,} of {len(found) - 1:,} others tied" if varied(report) else ""
    by = "" if (signal := signal_column(report)) is None else f" by the {signal}"
    told = f"nats before {found[1]['name']}{by}{ties}{also}"
    return ("Ahead by", f"{gap:.4f}", told)


def _sure(report: dict[str, Any]) -> tuple[str, str, str]:
    lag, oracle = str(report["lag"]), report["oracle"]
    if oracle:
        score, regret = oracle["spearman"][lag], oracle["relative_regret"][lag]["value"]
        interval = score["interval"]
        shown = "not defined" if score["value"] is None else f"{score['value']:.2f}"
        ends = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
        chance = oracle["random_choice_relative_regret"]
        told = f"Spearman with the end{ends}; gives away {regret:.0%}, chance {chance:.0%}"
        return ("How sure", shown, told)
    found = report["doubt"].get("outlook")
    if found is None:
        return ("How sure", "not known", "too little to say whether the ranking still moves")
    shown = f"{found['apart']:.4f} / {found['to_come']:.4f}"
    return ("How sure", shown, "nats apart, and still to move against one another")


def _table(report: dict[str, Any]) -> dict[str, Any]:
    """Return the ranking as columns and rows, numbers as they are in `report.json`."""
    lag, steps, seeds = str(report["lag"]), str(report["steps"]), report["seeds"]
    is_tied, signal, over = tied(report), signal_column(report), varied(report)
    first, has_maps = first_step(report), has(report, "layer_map")
    start = "right after growth" if noun(report) == "growth" else "the first one"
    columns = [
        ("rank", "rank", "rank", "in parentheses the ranks that it may have, 95 % interval"),
        ("name", "candidate", "name", ""),
        *([("map", "layers", "map", "")] if has_maps else []),
        *([("at_0", f"loss at {int(first):,}", "loss", start)] if first != lag else []),
        ("at_lag", f"loss at {int(lag):,}", "error", f"± standard error over {over}" * bool(over)),
        *([("signal", signal, "loss", "what candidates are ranked by")] if signal else []),
        ("gap", "to the winner", "gap", "= cannot be told apart from the winner"),
    ]
    if over:
        columns.append(("p_best", "best", "share", f"probability to be the best, over {over}"))
    if has_average_column(report):
        columns.append(("ema", f"average's at {int(lag):,}", "loss", "of the averaged weights"))
    if report["oracle"]:
        columns.append(("end", f"loss at {int(steps):,}", "loss", "at completion"))
    if len(seeds) > 1:
        columns += [
            (f"seed_{seed}", f"seed {seed}", "loss", f"loss at step {lag} under this seed")
            for seed in seeds
        ]
    counted = [
        ("parameters", "parameters", "count", ""),
        ("flops", "FLOPs", "flops", f"training FLOPs to step {lag}"),
    ]
    columns += [column for column in counted if has(report, column[0])]
    rows = []
    for each in (*report["candidates"], *beside(report)):
        losses, is_ok = each["val_loss"], each["status"] == "ok"
        row = {
            "rank": each["rank"],
            "ranks": each["rank_interval"],
            "p_best": each["p_best"],
            "name": each["name"],
            "also": each.get("also", []),
            "operator": each["operator"],
            "map": each["layer_map"],
            "at_0": losses.get(first),
            "at_lag": losses.get(lag) if is_ok else None,
            "se": each["val_loss_se"].get(lag) if is_ok else None,
            "signal": judged(report, each),
            "gap": behind(report, each),
            "ema": each.get("val_loss_ema", {}).get(lag),
            "end": losses.get(steps),
            "parameters": each["parameters"],
            "flops": each["flops"],
            "tied": each["name"] in is_tied,
            "baseline": each["is_baseline"],
            "failure": each.get("failure"),
            "stopped": each["stopped"]["step"] if each["status"] == "stopped" else None,
            "evidence": evidence(each).replace("`", "") if each["status"] == "stopped" else None,
            "best": bool(report["oracle"]) and each["name"] == report["oracle"]["candidate"],
        }
        for seed in seeds:
            row[f"seed_{seed}"] = each.get("val_loss_by_seed", {}).get(str(seed), {}).get(lag)
        rows.append(row)
    told = ("key", "label", "kind", "note")
    return {
        "columns": [dict(zip(told, column, strict=True)) for column in columns],
        "rows": rows,
        "winner": report["winner"]["name"],
    }


def _ranking(report: dict[str, Any]) -> str:
    note = "A press on a name shows its curve in the charts."
    if over := varied(report):
        note = (
            f"± is the standard error over {over}; most of it is shared by all candidates, so "
            "differences are surer than it says. In parentheses the ranks that a candidate may "
            "have (95 % interval), and best: the probability to be the best, both over "
            f"{over}. {note}"
        )
    by = "name, operator, layers" if has(report, "layer_map") else "name"
    options = "".join(
        f'<option value="{value}">{text}</option>'
        for value, text in (
            ("all", "all"),
            ("growths", "growths" if noun(report) == "growth" else "no baselines"),
            ("baselines", "baselines"),
            ("tied", "winner and tied"),
            ("stopped", "stopped"),
            ("failed", "failed"),
        )
    )
    return (
        f'<section id="ranking"><h2>Ranking at step {report["lag"]:,}</h2>'
        '<div class="controls"><input id="filter" type="search" '
        f'placeholder="Filter by {by}" aria-label="Filter candidates">'
        f'<select id="kind" aria-label="Which candidates">{options}</select>'
        '<span id="count" role="status"></span></div>'
        '<div class="legend" id="legend"></div>'
        '<div class="scroll"><table id="table"><thead></thead><tbody></tbody></table></div>'
        '<div class="more" id="more"></div>'
        f'<p class="note">{escape(note)} All numbers: <code>tables/ranking.csv</code>.</p>'
        "</section>"
    )


def chart_figure(shown: Chart) -> str:
    """Return the place of a chart, its title and its note."""
    title, note = escape(shown["title"]), escape(shown["note"])
    return (
        f'<figure><figcaption><h3>{title}</h3><div class="axes" data-chart="{shown["id"]}"></div>'
        f"<p>{note} <code>tables/{shown['table']}.csv</code></p></figcaption>"
        f'<div class="chart" id="chart-{shown["id"]}" role="img" aria-label="{title}"></div>'
        "</figure>"
    )


def html_section(section: Section, under: str = "") -> str:
    """Write a section as HTML; its title is left out where it stands under the same."""
    title = "" if section.title in (under, "Files") else f"<h3>{escape(section.title)}</h3>"
    return f'<div class="told">{title}{"".join(map(_part, section.parts))}</div>'


def _part(part: str | Grid | Points) -> str:
    if isinstance(part, Points):
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in part.items) + "</ul>"
    if isinstance(part, str):
        return f'<p class="note">{_inline(part)}</p>'
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in part.head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in part.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _inline(text: str) -> str:
    """Escape a text, and set what is between backticks as code and between two stars bold."""
    safe = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]*)\*\*", r"<b>\1</b>", safe)
