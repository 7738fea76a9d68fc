"""From Python: spaces without files, and what a notebook shows of plans and results."""

import json
import xml.etree.ElementTree as ET

import pytest
from finished import finished

import lagsearch
from lagsearch.display.layer_blocks import drawn_blocks, palette_of, widths_once
from lagsearch.display.notebook import Row, table_html
from lagsearch.errors import SpaceError
from lagsearch.report.pages.notebook import result_html
from lagsearch.space import read_yaml

pytestmark = pytest.mark.usefixtures("trained")


def plain_space(write_space):
    return read_yaml(write_space().read_text())[0]


def parsed(html):
    """Read HTML that is also XML: every element closed, every name escaped."""
    return ET.fromstring(f"<root>{html}</root>")


def test_a_dictionary_is_as_good_as_a_file(write_space):
    path = write_space()
    from_file, from_dict = lagsearch.plan(path), lagsearch.plan(plain_space(write_space))
    assert from_dict.file.space == from_file.file.space
    assert from_dict.candidates == from_file.candidates
    assert (
        lagsearch.load_space(plain_space(write_space), ["training.steps=30"]).space.training.steps
        == 30
    )


def test_a_space_object_is_as_good_as_a_file(write_space):
    space = lagsearch.Space(**plain_space(write_space))
    assert space == lagsearch.load_space(write_space()).space
    assert lagsearch.plan(space).file.space == space
    assert lagsearch.load_space(space).space == space


def test_a_dictionary_with_stages(write_stages):
    plain = read_yaml(write_stages().read_text())[0]
    assert repr(lagsearch.plan(plain)) == "Plan('tiny-stages': 3 stages, 64 steps)"


def test_a_dictionary_runs(write_space, tmp_path, silent):
    space = plain_space(write_space)
    result = lagsearch.run(space, out=tmp_path / "run", serial=True, watch=silent)
    assert repr(result).startswith(f"RunResult({result.winner}: validation loss ")
    root = parsed(result._repr_html_())
    names = [row[0].text for row in root.iter("tr")][1:]
    assert names == [f"{each.rank}. {each.name}" for each in result.candidates]
    maps = [each.get("aria-label") for each in root.iter("svg")]
    assert maps == [f"layers {each.layer_map}" for each in result.candidates]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"stepps": 3}}, r"^training\.stepps 3: unknown key; did you mean 'steps'\?"),
        (
            {"training": {"steps": "3"}},
            r'^training\.steps "3": must be a valid integer: write it',
        ),
        ({"candidates": "lag"}, r'^candidates "lag": must be a list, e.g. '),
        ({"seed": {1}}, r"^the space holds what no space file can: \{1\} of type set$"),
    ],
)
def test_mistakes_in_a_dictionary_name_the_key_alone(write_space, change, message):
    with pytest.raises(SpaceError, match=message):
        lagsearch.load_space({**plain_space(write_space), **change})


@pytest.mark.parametrize("space", [[1], 5, None])
def test_what_is_no_space_is_refused(space):
    with pytest.raises(SpaceError, match="a space is a mapping of keys to values, or the path"):
        lagsearch.load_space(space)


def test_plans_have_short_forms(write_space):
    plan = lagsearch.plan(write_space())
    assert repr(plan) == "Plan('tiny': 4 candidates, K = 10 of 24 steps)"
    root = parsed(plan._repr_html_())
    assert [row[0].text for row in root.iter("tr")][1:] == [each.name for each in plan.candidates]
    assert "Search and winner take 56% of the FLOPs" in "".join(root.itertext())


def test_a_plan_with_stages_as_a_table(write_stages):
    root = parsed(lagsearch.plan(write_stages())._repr_html_())
    assert [row[0].text for row in root.iter("tr")][1] == "stage 1: scratch"


def test_names_are_text():
    row = Row("<script>alert(1)</script>", "0 1*", ("<b>",))
    html = table_html("a <i> & b", ("<u>", "</table>"), [row])
    parsed(html)
    for each in ("<script", "<b>", "<i>", "<u>", "</table><"):
        assert each not in html.replace("</table><p>", "")


def test_a_long_table_counts_the_rest():
    html = table_html("many", ("name",), [Row(str(each), "1", ()) for each in range(60)])
    assert html.count("<tr>") == 51
    assert "And 10 more." in html


def test_blocks_can_be_told_apart_without_colour():
    text = "0 1* 2° 3~ R [residual 32-64]"
    html = drawn_blocks(text, palette_of([text]))
    root = parsed(html)
    groups = list(root.iter("g"))
    assert [group[-1].text for group in groups] == ["0", "1*", "2°", "3~", "R"]
    assert [len(group) for group in groups] == [2, 3, 2, 3, 2]
    assert (groups[1][1].get("height"), groups[1][1].get("fill")) == ("3", "currentColor")
    assert groups[2][0].get("fill") == "none"
    assert groups[3][1].tag == "path"
    assert groups[4][0].get("stroke-dasharray") == "3 2"
    heights = [float(group[0].get("height")) for group in groups]
    assert heights == [17, 22, 20.5, 15.5, 20.5]
    assert root.find("div/small").text == "residual 32-64"


def test_widths_that_rows_share_are_said_once():
    wide, other = "0 1 0* [ffn 2-4, heads 1-2]", "0 1 1* [ffn 2-4, heads 1-2]"
    shared = (["0 1 0* [wider]", "0 1 1* [wider]"], "[wider]: ffn 2-4, heads 1-2 (source-target)")
    assert widths_once([wide, other]) == shared
    assert widths_once([wide, "R R R", other]) == (
        ["0 1 0* [wider]", "R R R", "0 1 1* [wider]"],
        shared[1],
    )
    for apart in ([wide], [wide, "0 1 0* [ffn 2-8]"], ["0 1", "0 0*"], []):
        assert widths_once(apart) == (apart, "")


def test_the_same_layer_has_one_colour_in_all_maps():
    maps = ["0 1", "1 0*"]
    palette = palette_of(maps)
    first, second = (
        [each[0].get("fill") for each in parsed(drawn_blocks(text, palette)).iter("g")]
        for text in maps
    )
    assert first == second[::-1]
    assert len({*first}) == 2


def test_a_result_with_failures_and_hostile_names(write_space, tmp_path):
    result = finished(write_space(), tmp_path / "run")
    report = json.loads(json.dumps(result.report))
    report["candidates"][0]["name"] = report["winner"]["name"] = "<img src=x>"
    html = result_html(report, tmp_path)
    parsed(html)
    assert "<img" not in html
