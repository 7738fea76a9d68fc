"""Schedules carried over to other depths and lengths, against proportions worked out by hand."""

import pytest
from typer.testing import CliRunner

import lagsearch
from lagsearch.cli.commands import app
from lagsearch.errors import LagsearchError
from lagsearch.planning.scale_schedule import scaled_schedule
from lagsearch.space import read_yaml

SCHEDULE = """\
name: found
data: {train: {corpus: python-stdlib}, sequence_length: 16}
stages:
  - model: {model_type: llama, num_hidden_layers: 2, hidden_size: 16, intermediate_size: 32,
            num_attention_heads: 2, max_position_embeddings: 32}
    steps: 400
  - {target: {num_hidden_layers: 4}, steps: 400, lag: 50,
     candidates: [{operator: lag, index: 0, block_size: 1, init: duplicate}]}
  - {target: {num_hidden_layers: 6}, steps: 400, lag: 50,
     candidates: [{operator: lag, index: 1, block_size: 2, init: random}]}
  - {target: {num_hidden_layers: 8}, steps: 500, lag: 50, candidates: [{operator: last}]}
training: {batch_size: 4}
search: {lag: 1}
"""


@pytest.fixture
def schedule(tmp_path):
    path = tmp_path / "schedule.yaml"
    path.write_text(SCHEDULE)
    return path


def test_layers_indices_blocks_and_steps_in_proportion(schedule):
    scaled = scaled_schedule(schedule, 24, 1700)
    stages = scaled.plain["stages"]
    assert stages[0]["model"]["num_hidden_layers"] == 6
    assert [each["target"]["num_hidden_layers"] for each in stages[1:]] == [12, 18, 24]
    assert [each["steps"] for each in stages] == [400, 400, 400, 500]
    # 2 to 4 has the one index 0, as 6 to 12 has; a block of 1 of 2 is one of 3 of 6
    first, second = (each["candidates"][0] for each in stages[1:3])
    assert (first["index"], first["block_size"]) == (0, 3)
    # index 1 of 0..2 is 3 of 0..6
    assert (second["index"], second["block_size"], second["init"]) == (3, 6, "random")
    assert stages[3]["candidates"] == [{"operator": "last"}]
    assert scaled.lines == (
        "stage 1: 2 to 6 layers, 400 to 400 steps",
        "stage 2: 4 to 12 layers, 400 to 400 steps, index 0 of 0..0 to 0 of 0..0, "
        "block 1 of 2 to 3 of 6",
        "stage 3: 6 to 18 layers, 400 to 400 steps, index 1 of 0..2 to 3 of 0..6, "
        "block 2 of 2 to 6 of 6",
        "stage 4: 8 to 24 layers, 500 to 500 steps, last as it is",
    )


def test_steps_alone_keep_the_growths(schedule):
    stages = scaled_schedule(schedule, None, 1_000_000).plain["stages"]
    # 400 of 1,700 and what is left over
    assert [each["steps"] for each in stages] == [235_294, 235_294, 235_294, 294_118]
    assert stages[2]["candidates"][0]["index"] == 1


def test_a_block_becomes_the_nearest_divisor(schedule):
    # 8 to 20 layers: depths 5, 10, 15, 20; n = 5 has the divisors 1 and 5 only
    stages = scaled_schedule(schedule, 20, None).plain["stages"]
    # half of 5 is 2.5, 5 is twice that and 1 two fifths
    assert stages[1]["candidates"][0]["block_size"] == 5
    assert stages[2]["candidates"][0] == {
        **{"operator": "lag", "index": 3, "block_size": 5, "init": "random"}
    }


def test_the_command_writes_a_space_that_can_be_run(schedule, tmp_path):
    result = CliRunner().invoke(
        app, ["schedule", "scale", str(schedule), "--layers", "12", "--steps", "800"]
    )
    assert result.exit_code == 0, result.output
    out = tmp_path / "schedule-12-layers-800-steps.yaml"
    assert f"Schedule: {out}" in result.output
    planned = lagsearch.plan(out)
    assert [len(each.candidates) for each in planned.stages] == [1, 1, 1, 1]
    assert planned.stages[-1].candidates[0].layer_map.count(" ") == 11
    assert planned.file.steps == 800
    with pytest.raises(LagsearchError, match="is there already"):
        CliRunner().invoke(
            app,
            ["schedule", "scale", str(schedule), "--layers", "12", "--steps", "800"],
            catch_exceptions=False,
            standalone_mode=False,
        )


def test_a_schedule_of_one_growth(write_space, tmp_path):
    listed = "{operator: lag, index: [0, 2], block_size: 1, init: [duplicate, random]}"
    path = write_space((listed, "{operator: lag, index: 2, block_size: 1, init: duplicate}"))
    plain = scaled_schedule(path, 8, 48).plain
    assert plain["sources"][0]["pretrain"]["config"]["num_hidden_layers"] == 6
    assert plain["target"] == {"num_hidden_layers": 8}
    # the last of 0..2 is the last of 0..4; one block of the one new layer is one of two
    assert plain["candidates"][0]["index"] == 4
    assert plain["candidates"][0]["block_size"] == 2
    assert plain["training"]["steps"] == 48


@pytest.mark.parametrize(
    ("change", "layers", "steps", "message"),
    [
        (("index: 1", "index: [0, 1]"), 24, None, "stage 3: is no schedule"),
        (("index: 1", "index: every"), 24, None, "cannot be scaled|is no schedule"),
        (("operator: last", "operator: layers"), 24, None, "layers cannot be scaled"),
        (("steps: 500", "steps: 500"), 3, None, "3 layers are too few"),
        (("steps: 500", "steps: 500"), None, 3, "too few for 4 stages"),
        (("steps: 500", "steps: 500"), None, None, "give --layers, --steps or both"),
    ],
)
def test_what_cannot_be_scaled(schedule, change, layers, steps, message):
    assert change[0] in SCHEDULE
    schedule.write_text(SCHEDULE.replace(*change))
    with pytest.raises(LagsearchError, match=message):
        scaled_schedule(schedule, layers, steps)


def test_the_file_is_where_out_says(schedule, tmp_path):
    out = tmp_path / "scaled.yaml"
    CliRunner().invoke(
        app, ["schedule", "scale", str(schedule), "--steps", "900", "--out", str(out)]
    )
    values, _ = read_yaml(out.read_text())
    assert sum(each["steps"] for each in values["stages"]) == 900


SOURCE = """\
sources:
  - name: a
    pretrain:
      config: {model_type: llama, num_hidden_layers: 2, hidden_size: 16, intermediate_size: 32,
               num_attention_heads: 2, max_position_embeddings: 32}
      steps: 10
"""


def test_stages_from_a_source_scale_the_source_too(schedule):
    text = schedule.read_text()
    begin, end = text.index("  - model:"), text.index("  - {target:")
    text = text[:begin] + text[end:]
    schedule.write_text(text.replace("stages:\n", SOURCE + "stages:\n"))
    scaled = scaled_schedule(schedule, 16, None)
    assert scaled.plain["sources"][0]["pretrain"]["config"]["num_hidden_layers"] == 4
    assert [each["target"]["num_hidden_layers"] for each in scaled.plain["stages"]] == [8, 12, 16]
    assert [each["candidates"][0].get("index") for each in scaled.plain["stages"]] == [0, 2, None]


def test_a_choice_is_no_schedule(write_space):
    with pytest.raises(LagsearchError, match="is no schedule"):
        scaled_schedule(write_space(), None, 10)
