"""What the site has beside the pages of this folder: a hook of mkdocs.

References are made from the code at every build, so that they cannot grow stale. Files of the
repository that a page links to (README, reports, figures) are taken along, and links to them are
written anew: README.md is the site's first page, `docs/` its root, all else keeps its path.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lagsearch.cli.schema import space_schema
from lagsearch.data.objectives.registry import OBJECTIVES
from lagsearch.display.layer_blocks import legend
from lagsearch.loggers import LOGGERS
from lagsearch.models.families import FAMILIES
from lagsearch.operators import Operator, all_operators
from lagsearch.operators.described import (
    example_entry,
    paragraphs,
    settings_of,
    small_growth,
    source_of,
)
from lagsearch.running.baselines import BASELINES
from lagsearch.selection import EVIDENCE, SIGNALS
from lagsearch.space import dump_flow

ROOT = Path(__file__).resolve().parents[1]
_ENTRANCES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "reports/function-preservation.md")
_WHOLE = {
    "StageTraining": "Training",
    "StageEvaluation": "EvaluationSettings",
    "StageSearch": "Search",
}
"""Parts of stages, which are these but for some keys."""
_REF = re.compile(r"#/\$defs/(\w+)")
_SITE_ONLY = re.compile(r"(`[^`]+`|\*[^*]+\*)<!-- site: (\S+) -->")
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


# ---- the site ----


def on_files(files: Any, config: Any) -> Any:
    """Add generated pages, and files of the repository."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    texts = {f"docs/{each.src_uri}": each.content_string for each in files.documentation_pages()}
    for name in linked_files(texts):
        if files.get_file_from_path(in_site(name)) is None:
            files.append(File.generated(config, in_site(name), abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Write links anew that lead out of `docs/`."""
    names = {in_site(name): name for name in _ENTRANCES}
    place = page.file.src_uri
    is_outside = place in names or (ROOT / place).is_file()
    return relinked(markdown, names.get(place, place if is_outside else f"docs/{place}"))


def in_site(name: str) -> str:
    """Return the place in the site of a file of the repository."""
    return "index.md" if name == "README.md" else name.removeprefix("docs/")


def linked_files(texts: dict[str, str]) -> list[str]:
    """Return the files outside of `docs/` that pages lead to, directly or by one another.

    Args:
        texts: Pages by their paths in the repository.
    """
    found = list(_ENTRANCES)
    ahead = [*texts.items(), *((name, (ROOT / name).read_text()) for name in found)]
    while ahead:
        name, text = ahead.pop()
        for target in _targets(text, name):
            is_new = not target.startswith(("docs/", "..")) and target not in found
            if is_new and (ROOT / target).is_file():
                found.append(target)
                if target.endswith(".md"):
                    ahead.append((target, (ROOT / target).read_text()))
    return found


def relinked(text: str, name: str) -> str:
    """Return a page with links as the site has them.

    To a page that is made here, and is not there in a clone, words lead that have a comment behind
    them: `words`<!-- site: reference/space.md -->.

    Args:
        text: The page.
        name: Its path in the repository.
    """
    here = posixpath.dirname(in_site(name))

    text = _SITE_ONLY.sub(r"[\1](\2)", text)

    def write(link: re.Match[str]) -> str:
        target = _resolved(link[1], name)
        return f"]({posixpath.relpath(in_site(target), here or '.')}{link[2] or ''})"

    return _LINK.sub(write, text)


def _targets(text: str, name: str) -> Iterator[str]:
    return (_resolved(link[1], name) for link in _LINK.finditer(text))


def _resolved(target: str, name: str) -> str:
    return posixpath.normpath(str(PurePosixPath(name).parent / target))


# ---- the references ----


def pages() -> dict[str, str]:
    """Return the generated pages by their places."""
    return {
        "reference/space.md": space_page(),
        "reference/operators.md": operators_page(),
        "reference/registries.md": registries_page(),
        "reference/command-line.md": command_line_page(),
    }


def space_page() -> str:
    """Return the reference of the space file: every key, from the schema that checks it."""
    parts = space_schema()["$defs"]
    text = [
        "# Space file",
        "Every key of a space, as `lagsearch schema` knows it; `lagsearch plan` checks a file "
        "against it, and the rules between keys. A key that is not here is an error.",
        "A space is a [Space](#space), or, where it has `stages`, a [Staged](#staged). "
        "Candidates are [operators with their settings](operators.md).",
    ]
    shown = ["Space", "Staged", "Ladder", "Stage"]
    for name in shown:  # it grows by the parts that parts lead to
        found = map(_whole, _REF.findall(json.dumps(parts[name])))
        shown += [each for each in dict.fromkeys(found) if each not in shown and each in parts]
        text += [f"## {name}", parts[name].get("description", ""), _keys(parts[name], parts)]
    return _joined(text)


def _keys(part: dict[str, Any], parts: dict[str, Any]) -> str:
    rows = []
    for key, value in part["properties"].items():
        told = parts.get(_whole(value.get("$ref", "")), {})
        default = "required" if key in part.get("required", ()) else _default(value)
        meaning = value.get("description") or told.get("description", "")
        rows.append((f"`{key}`", kind_in_words(value), default, meaning))
    return _table(("key", "value", "default", "meaning"), rows)


def _whole(name: str) -> str:
    """Return the part that another one is but for some keys, or no part for a candidate."""
    name = name.rpartition("/")[2]
    return _WHOLE.get(name, "" if name.endswith("Candidate") else name)


def kind_in_words(schema: dict[str, Any]) -> str:
    """Say what values a part of a JSON schema allows, with links to its parts."""
    if "$ref" in schema:
        whole = _whole(schema["$ref"])
        return f"[{whole}](#{whole.lower()})" if whole else "[an operator](operators.md)"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_in_words(each) for each in schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items") or schema["prefixItems"][0]
        number = f" of {schema['minItems']}" if "prefixItems" in schema else ""
        return f"list{number}: {kind_in_words(items)}"
    words = {"null": "`null`", "object": "mapping", "string": "text", "integer": "whole number"}
    bounds = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "pattern": "of the form `{}`",
    }
    found = [form.format(schema[key]) for key, form in bounds.items() if key in schema]
    return " ".join([words.get(str(kind), str(kind)), ", ".join(found)]).strip()


def _default(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return ""
    value = schema["default"]
    return "below" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def operators_page() -> str:
    """Return the reference of operators, from the table of operators."""
    rows = [
        (f"[`{each.name}`](#{each.name})", each.grows, each.preserves, each.summary)
        for each in all_operators()
    ]
    text = [
        "# Operators",
        "Each treats weights and optimizer state alike. `lagsearch operators NAME` says the same "
        "in a terminal. What each preserves is measured, family by family, in [this table]"
        "(../reports/function-preservation.md); [what that means](../explanation/preservation.md).",
        _table(("operator", "grows", "preserves the function", "what it does"), rows),
    ]
    for each in all_operators():
        text += _operator(each)
    return _joined(text)


def _operator(found: Operator) -> list[str]:
    entry = {
        key: [value] if isinstance(value, list) else value
        for key, value in example_entry(found).items()
    }
    facts = [("grows", found.grows), ("preserves the function", found.preserves)]
    facts += [("paper", found.paper), ("sources", found.takes)]
    rows = [
        (
            f"`{each.name}`",
            each.kind,
            "required" if each.default is None else f"`{each.default}`",
            each.meaning,
        )
        for each in settings_of(found)
    ]
    candidate = small_growth(found)
    drawn = candidate.plan.layer_map()
    return [
        f"## {found.name}",
        *paragraphs(found),
        *filter(None, [source_of(found)]),
        "; ".join(f"{key}: {value}" for key, value in facts) + ".",
        _table(("setting", "value", "default", "meaning"), rows) if rows else "No settings.",
        f"```yaml\n- {dump_flow(entry)}\n```",
        f"Its growth of a small Llama, `{candidate.name}`:",
        f"```text\n{drawn}\n```",
        f"{legend([drawn])}.",
    ]


def registries_page() -> str:
    """Return the reference of all else that anybody may add to."""
    baselines = [each for each in all_operators() if each.is_baseline]
    families = sorted(FAMILIES.all(), key=lambda each: each.name)
    return _joined(
        [
            "# Signals, evidence, objectives, families",
            "What `search.signal`, `search.evidence`, `objective.name` and `search.baselines` may "
            "name, loggers, and the families of models whose weights are known. [Packages add to "
            "each](../howto/extend.md).",
            "## Signals",
            _table(
                ("`search.signal`", "candidates are ranked by", "needs"),
                [
                    (
                        f"`{each.name}`",
                        each.words,
                        f"`evaluation.{each.needs}`" if each.needs else "",
                    )
                    for each in SIGNALS.all()
                ],
            ),
            "## Evidence of a race",
            _table(
                ("`search.evidence`", "stops candidates that are", "heeds"),
                [
                    (
                        f"`{each.name}`",
                        each.words,
                        ", ".join(f"`search.{key}`" for key in each.heeds),
                    )
                    for each in EVIDENCE.all()
                ],
            ),
            "## Objectives",
            _table(
                ("`objective.name`", "predicts", "model", "keys of its own"),
                [
                    (
                        f"`{each.name}`",
                        each.words,
                        each.kind,
                        ", ".join(f"`{key}`" for key in each.uses),
                    )
                    for each in OBJECTIVES.all()
                ],
            ),
            "## Baselines",
            _table(
                ("`search.baselines`", "what it is"),
                [
                    (f"[`{each.name}`](operators.md#{each.name})", each.summary)
                    for each in baselines
                ],
            ),
            "## Baseline courses",
            "What `lagsearch run --baselines` trains beside a run with stages.",
            _table(
                ("course", "what it does"),
                [(f"`{each.name}`", each.words) for each in BASELINES.all()],
            ),
            "## Loggers",
            _table(
                ("`--log`", "sends to", "package"),
                [
                    (f"[`{each.name}`](../howto/loggers.md)", each.words, f"`{each.install}`")
                    for each in LOGGERS.all()
                ],
            ),
            "## Families of models",
            "Growth in width and `identity` need such a table; growth in depth by copies does not.",
            _table(
                ("family", "`model_type`", "norm", "post-norm", "only where"),
                [
                    (
                        each.name,
                        ", ".join(f"`{one}`" for one in each.model_types),
                        each.norm,
                        "yes" if each.is_post_norm else "",
                        ", ".join(
                            f"`{key}` is `{json.dumps(value)}`"
                            for key, value in each.requires.items()
                        ),
                    )
                    for each in families
                ],
            ),
        ]
    )


def command_line_page() -> str:
    """Return the reference of the command line, as typer writes it."""
    import typer
    from typer.cli import get_docs_for_click

    from lagsearch.cli.commands import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="lagsearch")
    text = get_docs_for_click(obj=command, ctx=context, name="lagsearch", title="Command line")
    return text + (
        "\n## Exit codes\n\n"
        + _table(
            ("code", "meaning"),
            [
                ("0", "done"),
                ("2", "the input is wrong, or the machine refused something; one line says what"),
                ("3", "no candidate survived"),
                (
                    "130",
                    "interrupted: Ctrl-C, SIGTERM or a closed terminal; the same command continues",
                ),
                ("141", "nobody reads the output any more"),
            ],
        )
        + "\n"
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


def _joined(parts: list[str]) -> str:
    return "\n\n".join(each for each in parts if each) + "\n"
