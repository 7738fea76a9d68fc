"""Which layer came from where, against growths followed by hand."""

from dataclasses import asdict

from lagsearch.models.configs import ModelShape
from lagsearch.operators.catalog.lag import lag
from lagsearch.operators.catalog.multi import multi_stack
from lagsearch.operators.catalog.scratch import scratch
from lagsearch.report.numbers.layer_ancestry import drawn, genealogy
from lagsearch.report.pictures.course import _genealogy
from lagsearch.report.pictures.picture import Block


def shape(n):
    return ModelShape(n, {}, "llama")


def grown(source, target, **settings):
    return lag(shape(source), shape(target), **settings).to_dict()


def test_layers_are_followed_through_all_stages():
    plans = [
        scratch(shape(2), shape(2)).to_dict(),
        grown(2, 4, index=0, block_size=2, init="duplicate"),  # 0 1 0* 1*
        grown(4, 6, index=1, block_size=1, init="duplicate"),  # 0 1 1* 2 2* 3
        grown(6, 7, index=4, block_size=1, init="random"),  # 0 1 2 3 4 R 5
    ]
    lines = genealogy(plans)
    assert [drawn(line) for line in lines] == [
        "0 1",
        "0 1 0* 1*",
        "0 1 1* 0 0* 1",
        "0 1 1 0 0 R* 1",
    ]
    assert [each.born for each in lines[3]] == [1, 1, 3, 2, 3, 4, 2]
    assert [each.parent for each in lines[3]] == [0, 1, 2, 3, 4, 4, 5]


def test_a_random_layer_of_a_first_growth_goes_back_to_nothing():
    (line,) = genealogy([grown(2, 3, index=1, block_size=1, init="random")])
    assert [each.root for each in line] == [0, 1, None]
    assert [each.born for each in line] == [0, 0, 1]


def test_sources_keep_their_letters():
    sources = {"a": shape(2), "b": shape(1)}
    first = multi_stack(sources, shape(3), order="b a").to_dict()
    lines = genealogy([first, grown(3, 4, index=2, block_size=1, init="duplicate")])
    assert drawn(lines[1]) == "b0 a0 a1 a1*"


def test_the_picture_numbers_layers_as_the_words_do():
    stages = genealogy(
        [
            scratch(shape(2), shape(2)).to_dict(),
            grown(2, 4, index=0, block_size=1, init="duplicate"),
        ]
    )
    picture = _genealogy([[asdict(each) for each in stage] for stage in stages])
    texts = [each.text for each in picture.shapes if isinstance(each, Block)]
    assert texts == [*drawn(stages[1]).replace("*", "").split(), *drawn(stages[0]).split()]
