"""What commands say of themselves: version, help, operators, the schema, a plan as JSON."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest

import lagsearch
from lagsearch.cli.schema import dump_schema, space_schema
from lagsearch.operators import all_operators
from lagsearch.operators.described import (
    example_entry,
    meanings,
    settings_of,
    small_growth,
    type_in_words,
)
from lagsearch.report.words.stage import ranking
from lagsearch.space import read_yaml

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "search_spaces" / "space.schema.json"
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
OPERATORS = all_operators()


def test_the_version(call):
    code, out, _ = call("--version")
    assert (code, out) == (0, f"lagsearch {version('lagsearch')}\n")
    assert lagsearch.__version__ == version("lagsearch")


@pytest.mark.parametrize(
    "words",
    ["", "plan", "run", "report", "compare", "replay", "grow", "operators", "schema", "schedule"],
)
def test_help_has_a_short_form(call, words):
    short, long = (call(*words.split(), each) for each in ("-h", "--help"))
    assert short == long
    assert short[0] == 0
    assert "Usage:" in short[1]


# ---- operators ----


@pytest.mark.parametrize("columns", [40, 60, 100])
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.name)
def test_an_operator_is_described_whole_at_any_width(call, monkeypatch, operator, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = call("operators", operator.name)
    assert code == 0
    lines = out.splitlines()
    entry = next(line for line in lines if line.startswith("  - {operator: "))
    assert all(len(line) <= columns for line in lines if line != entry)
    said = re.sub(r"\s+", "", out)
    for setting in settings_of(operator):
        assert setting.meaning, setting.name
        default = "required" if setting.default is None else f"{setting.default} when left out"
        head = f"{setting.name}: {setting.kind}; {default}"
        assert re.sub(r"\s+", "", head + setting.meaning) in said
    assert "…" not in out


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.name)
def test_an_example_makes_the_growth_that_is_drawn(operator):
    entry = example_entry(operator)
    assert set(entry) - {"operator"} <= set(operator.settings.model_fields)
    grown = small_growth(operator)
    assert grown.operator == operator.name
    depth = 4 if operator.grows == "width" or operator.reaches == "source" else 6
    assert len(grown.plan.layers) == depth
    assert bool(grown.plan.width) == ("width" in operator.grows)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("stack", "0 1 2 3 2* 3*"),
        ("interleave", "0 0* 1 2 2* 3"),
        ("identity", "0 0° 1 2 2° 3"),
        ("lag", "0 1 2 1* 2* 3"),
        ("random", "0 1 2 3 R R"),
        ("multi-interleave", "a0 b0 a1 b1 a2 b2"),
        ("net2net", "0 1 2 3"),
    ],
)
def test_a_growth_is_drawn(call, name, drawn):
    _, out, _ = call("operators", name)
    assert f"  {drawn}" in out.splitlines()
    assert ("  and in width, residual 32 to 64, heads 2 to 4, ffn 64 to 128" in out) == (
        name == "net2net"
    )


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.name)
def test_an_example_can_be_pasted_into_a_space(call, operator):
    _, out, _ = call("operators", operator.name)
    line = next(line for line in out.splitlines() if line.startswith("  - {operator: "))
    [entry] = read_yaml(line)[0]
    jsonschema.validate(entry, {**space_schema(), "if": False, "else": {"$ref": CANDIDATE}})
    settings = {
        key: value[0] if isinstance(value, list) else value
        for key, value in entry.items()
        if key != "operator"
    }
    assert settings == {
        key: value for key, value in example_entry(operator).items() if key in settings
    }


CANDIDATE = "#/$defs/Candidate"


@pytest.mark.parametrize("columns", [50, 60, 120])
def test_the_list_of_operators_is_readable(call, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = call("operators")
    assert code == 0
    assert all(len(line) <= columns for line in out.splitlines())
    for each in OPERATORS:
        assert re.search(rf"^ {re.escape(each.name)} ", out, re.MULTILINE)
    assert "block_size" in out


def test_meanings_that_refer_to_another_operator_are_spelt_out():
    told = {each.name: meanings(each) for each in OPERATORS}
    assert not [text for each in told.values() for text in each.values() if "As for `" in text]
    assert told["cross-ligo"]["lr"] == told["ligo"]["lr"]
    halves = told["duplicate-halves"]["noise"]
    assert halves == f"{told['net2net']['noise']} It also fills the blocks between the halves."


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer", "minimum": 0}, "a whole number from 0"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "a number from 0 below 1"),
        ({"enum": ["a", "b", "c"]}, "a, b or c"),
        (
            {"anyOf": [{"const": "matched"}, {"type": "integer", "minimum": 1}, {"type": "null"}]},
            "matched or a whole number from 1",
        ),
        ({"type": "array", "items": {"type": "integer"}}, "a list of whole numbers"),
    ],
)
def test_kinds_in_words(schema, kind):
    assert type_in_words(schema) == kind


# ---- the schema ----


def test_the_committed_schema_is_todays():
    assert SCHEMA.read_text() == dump_schema() + "\n", (
        "lagsearch schema --out search_spaces/space.schema.json"
    )


def test_the_schema_is_printed_or_written(call, tmp_path):
    code, out, _ = call("schema")
    assert (code, json.loads(out)) == (0, space_schema())
    path = tmp_path / "space.schema.json"
    code, out, _ = call("schema", "--out", path)
    assert code == 0
    assert json.loads(path.read_text()) == space_schema()
    assert out.splitlines()[-1].endswith("# yaml-language-server: $schema=space.schema.json")


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_shipped_spaces_name_the_schema_and_fit_it(path):
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=space.schema.json\n")
    jsonschema.Draft202012Validator(space_schema()).validate(read_yaml(text)[0])


@pytest.mark.parametrize(
    ("override", "at"),
    [
        ("training.stepps=3", "$.training"),
        ("evaluation.batches=0", "$.evaluation.batches"),
        ("candidates.0.operator=lga", "$.candidates[0]"),
        ("candidates.0.block_size=none", "$.candidates[0]"),
        ("candidates.0.inti=random", "$.candidates[0]"),
        ("search.lag=soon", "$.search.lag"),
        ("objective.name=next", "$.objective.name"),
    ],
)
def test_the_schema_finds_mistakes(write_space, override, at):
    plain = read_yaml(write_space().read_text())[0]
    validator = jsonschema.Draft202012Validator(space_schema())
    validator.validate(plain)
    *parents, last = override.partition("=")[0].split(".")
    node = plain
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = read_yaml(override.partition("=")[2])[0]
    assert at in [error.json_path for error in _leaves(validator.iter_errors(plain))]


def _leaves(errors):
    for error in errors:
        yield error
        yield from _leaves(error.context)


@pytest.mark.parametrize("listed", [True, False])
def test_the_schema_knows_stages(write_stages, listed):
    plain = read_yaml(write_stages(listed=listed).read_text())[0]
    validator = jsonschema.Draft202012Validator(space_schema())
    validator.validate(plain)
    plain["training"]["steps"] = 3
    assert not validator.is_valid(plain)


def test_words_for_an_index_belong_to_stages(write_space):
    plain = read_yaml(write_space().read_text())[0]
    plain["candidates"][0]["index"] = "every"
    assert not jsonschema.Draft202012Validator(space_schema()).is_valid(plain)


# ---- a plan as JSON ----


def test_a_plan_as_json(call, write_space):
    code, out, _ = call("plan", write_space(), "--json")
    told, plan = json.loads(out), lagsearch.plan(write_space())
    assert code == 0
    assert (told["format"], told["kind"], told["name"]) == (1, "growth", "tiny")
    assert (told["lag"], told["steps"], told["seeds"]) == (10, 24, [3])
    assert [each["name"] for each in told["candidates"]] == [each.name for each in plan.candidates]
    assert told["candidates"][0]["layer_map"] == "0 0* 1 2"
    per_step = told["candidates"][0]["flops_per_step"]
    assert told["flops"]["search"] == 4 * 10 * per_step
    assert told["flops"]["winner"] == 14 * per_step
    assert told["flops"]["every_candidate_to_completion"] == 4 * 24 * per_step
    assert told["flops"]["sources"] == 20 * told["sources"][0]["flops_per_step"]
    assert told["sampled"] is None
    assert told["evaluation"] == {
        "batches": 4,
        "batch_size": 4,
        "tokens": 256,
        "batches_by_step": {str(step): 4 for step in (0, 1, 2, 5, 10)},
    }
    forward = per_step // (3 * 4 * 16)  # of a token
    assert told["flops"]["evaluations"] == 4 * 5 * 256 * forward


def test_a_plan_and_a_report_say_widths_once(call):
    code, out, _ = call("plan", ROOT / "search_spaces" / "shakespeare_depth_width.yaml")
    assert code == 0
    widths = "residual 32-64, heads 2-4, ffn 128-256"
    assert " ".join(out.split()).count(widths) == 1
    assert out.count("[wider]") > 10
    folder = ROOT / "reports" / "shakespeare-depth-width"
    grid, note = ranking(json.loads((folder / "report.json").read_text())).parts
    assert not any(widths in cell for row in grid.rows for cell in row)
    assert note.count(widths) == 1


def test_a_plan_says_on_how_much_losses_are_measured(call, write_space):
    options = ["--set", "evaluation.batches=8", "--set", "evaluation.annealed={at: [5]}"]
    code, out, _ = call("plan", write_space(), *options)
    assert code == 0
    line = " ".join(out.split())  # the terminal may be narrow
    assert "3 on 512 tokens and 2 on the first 4 of 8 batches:" in line
    _, out, _ = call("plan", write_space(), *options, "--json")
    told = json.loads(out)
    assert told["evaluation"]["batches_by_step"] == {"0": 8, "1": 4, "2": 4, "5": 8, "10": 8}
    whole = told["candidates"][0]["evaluation_flops"]
    # three whole evaluations, two halves, and the one after the decay that branches off at step 5
    assert told["flops"]["evaluations"] == 4 * 5 * whole
    assert f"{told['flops']['evaluations'] / told['flops']['search']:.1%} of the search" in line


def test_a_plan_says_how_to_measure_on_less_where_evaluations_cost_much(call, write_space):
    """16 sequences, 4 evaluations of 8 batches: 8 x 4 / 3 steps beside the 10 of the search."""
    options = ["training.batch_size=16", "evaluation={batches: 8, steps: [1, 5], thin: false}"]
    sets = [word for each in options for word in ("--set", each)]
    path = write_space()
    _, out, _ = call("plan", path, *sets)
    [line] = re.findall(r"The search's evaluations cost .*?%\.", " ".join(out.split()))
    share = 4 * 8 / 3 / 10
    tokens, part, then = re.search(r"tokens=(\d+) .* (\d+)%.* (\d+)%\.", line).groups()
    rows = int(16 * 0.25 / share)
    assert f"cost {share:.0%} of" in line
    assert (int(tokens), int(part)) == (8 * rows * 16, round(100 * rows / 16))
    _, out, _ = call("plan", path, *sets, "--set", f"evaluation.tokens={tokens}")
    assert "evaluations cost" not in out
    measured = re.search(r"([\d.]+)% of the search", " ".join(out.split()))[1]
    assert round(float(measured)) == int(then) <= 25


def test_where_a_row_a_batch_is_too_much_there_are_fewer_batches(call, write_space):
    """4 evaluations of 64 batches of a sequence: 64 x 4 / 3 / 4 steps beside the 10 of the search.

    Of fewer than 4 batches nothing is said: then it is the number of evaluations.
    """
    few = "evaluation: {batches: 64, steps: [1, 5], thin: false, tokens: 1024}"
    path = write_space(("evaluation: {batches: 4}", few))
    _, out, _ = call("plan", path)
    [told] = re.findall(r"The search's evaluations cost .*?%\.", " ".join(out.split()))
    tokens, batches, then = re.search(
        r"evaluation.tokens=(\d+) --set evaluation.batches=(\d+) .* (\d+)%\.", told
    ).groups()
    assert int(batches) == int(0.25 * 10 / (4 / 3 / 4)) == 7
    assert (int(tokens), int(then)) == (7 * 16, round(100 * 7 * 4 / 3 / 4 / 10))
    fewer = ["--set", f"evaluation.tokens={tokens}", "--set", f"evaluation.batches={batches}"]
    _, out, error = call("plan", path, *fewer)
    assert error == ""
    assert "evaluations cost" not in out
    measured = re.search(r"([\d.]+)% of the search", " ".join(out.split()))[1]
    assert round(float(measured)) == int(then)
    often = ["--set", "evaluation={batches: 4, steps: [1, 2, 3, 4, 5, 6, 7, 8, 9], tokens: 64}"]
    _, out, _ = call("plan", path, *often)
    line = " ".join(out.split())
    assert re.search(r"evaluations cost 37% .*?; fewer evaluation\.steps cost less\.", line)


def test_of_losses_that_a_trainer_logs_there_is_no_cost(call, write_space):
    trainer = "trainer: {command: 'x {checkpoint} {out} {steps}', losses: {format: jsonl, key: a}}"
    path = write_space(("search: {lag: 10}", f"search: {{lag: 10}}\n{trainer}"))
    options = ["--set", "evaluation.batches=64", "--set", "trainer.evaluate=trainer"]
    code, out, error = call("plan", path, *options)
    line = " ".join(out.split())
    assert code == 0, error
    assert "evaluations cost" not in line
    assert "its evaluations 0.00e+00 1, by the trainer" in line
    told = json.loads(call("plan", path, *options, "--json")[1])
    assert told["flops"]["evaluations"] == 0
    assert {each["evaluation_flops"] for each in told["candidates"]} == {0}
    _, out, _ = call("plan", path, *options[:2])
    assert "evaluations cost" in out, "where lagsearch measures, there is"


def test_a_plan_with_stages_as_json(call, write_stages):
    code, out, _ = call("plan", write_stages(), "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["kind"], told["steps"]) == ("stages", 64)
    assert [each["steps"] for each in told["stages"]] == [20, 20, 24]
    assert [each["number"] for each in told["stages"]] == [1, 2, 3]
    extra = sum((len(each["candidates"]) - 1) * each["lag"] for each in told["stages"])
    assert told["extra_steps"] == extra
