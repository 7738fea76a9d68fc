"""The time left of made-up trainings whose costs are known; no clock is asked."""

import pytest

from lagsearch.display.time_left import Later, TimeLeft

STEP_S, EVALUATION_S = 0.1, 1.0
EVALUATED = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def signs(end, start_s, begun=0):
    """Yield (seconds, step, val_loss, to_evaluate) as a training tells them: once a second."""
    at, told = 0.0, 0.0
    yield 0.0, 0, None, 0
    at += start_s
    loss = None
    wanted = [each for each in EVALUATED if each < end] + [end]
    for step in range(begun, end + 1):
        is_evaluated = step in wanted and (step > begun or step == 0)
        at += is_evaluated * EVALUATION_S
        if is_evaluated:
            loss = 5.0 - step / 1e4
        if is_evaluated or at - told >= 1:
            told = at
            yield at, step, loss, sum(each > step for each in wanted)
        at += STEP_S if step < end else 0
    yield at, None, loss, 0


def estimates(trainings, slots):
    """Yield (seconds left as estimated, as they are) at each sign of trainings side by side."""
    ends = {name: end for name, (end, _, _) in trainings.items()}
    left, events, clock = TimeLeft(ends), [], [0.0] * slots
    for name in trainings:
        slot = min(range(slots), key=clock.__getitem__)
        end, start_s, begun = trainings[name]
        for at, *sign in signs(end, start_s, begun):
            events.append((clock[slot] + at, name, sign))
        clock[slot] += at
    over = max(clock)
    for at, name, (step, loss, to_come) in sorted(events, key=lambda event: event[0]):
        if step is None:
            left.end(name, at)
        else:
            left.hear(name, at, step, loss, to_come)
        yield left.seconds(at), over - at


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("start_s", [0.0, 4.0, 40.0])
def test_start_up_and_early_evaluations_do_not_make_it_long(slots, start_s):
    trainings = {f"c{each}": (300, start_s, 0) for each in range(8)}
    found = list(estimates(trainings, slots))
    shown = [(said, is_left) for said, is_left in found if said is not None]
    assert found[0][0] is None
    assert found[1][0] is None
    for said, is_left in shown:
        if is_left > 20:
            assert 0.7 < said / is_left < 1.4
    assert shown[-1] == (0, 0)
    assert len(shown) > 0.8 * len(found)


def test_what_was_trained_before_does_not_make_it_short():
    """900 of 1,000 steps were done before: 100 of 0.1 s and an evaluation are left."""
    found = list(estimates({"a": (1000, 5.0, 900)}, 1))
    shown = [(said, is_left) for said, is_left in found if said is not None]
    assert shown[0][1] > 5
    for said, is_left in shown:
        assert said == pytest.approx(is_left, abs=1.2)


@pytest.mark.parametrize("begun", [600, 900])
def test_what_was_trained_before_says_nothing_of_those_to_come(begun):
    found = list(estimates({"a": (1000, 5.0, begun), "b": (1000, 5.0, 0)}, 1))
    shown = [(said, is_left) for said, is_left in found if said is not None and is_left > 20]
    assert shown
    for said, is_left in shown:
        assert 0.8 < said / is_left < 1.3


def test_one_that_failed_early_does_not_make_it_short():
    left = TimeLeft({"bad": 1000, "good": 1000, "next": 1000})
    left.hear("bad", 0.0, 0, None, 2)
    for step in range(1, 6):
        left.hear("bad", float(step), step, 5.0, 2)
    left.end("bad", 6.0)  # a second each: two of 1,000 are to come
    left.hear("good", 6.0, 0, None, 2)
    for step in range(1, 6):
        left.hear("good", 6.0 + step, step, 5.0, 2)
    assert left.seconds(11.0) == pytest.approx(1995, rel=0.01)


def test_the_longest_one_sets_the_time_where_nothing_else_is_left():
    found = list(estimates({"a": (100, 0.0, 0), "b": (1000, 0.0, 0)}, 2))
    for said, is_left in found[-40:]:
        assert said == pytest.approx(is_left, abs=2.5)


def test_before_a_pace_is_known_there_is_none():
    left = TimeLeft({"a": 100, "b": 100})
    assert left.seconds(0.0) is None
    left.hear("a", 0.0, 0, None, 0)
    left.hear("a", 60.0, 0, 5.0, 3)  # compiled, grown, evaluated
    left.hear("a", 61.0, 1, 5.0, 3)
    assert left.seconds(61.0) is None
    left.hear("a", 65.0, 5, 5.0, 3)  # a second each: 95 steps, and 60 + 99 of the other
    assert left.seconds(65.0) == pytest.approx(95 + 60 + 100, abs=2)
    left.end("b", 65.0)  # it failed
    assert left.seconds(66.0) == pytest.approx(94)


def test_what_comes_later_is_counted_at_the_pace_of_now():
    """Two at a time to step 100, then three finalists 50 steps on, and one for 200 half as dear."""
    later = (Later(3, 50, 1), Later(1, 100.0, 2))
    left, alone = TimeLeft({"a": 100, "b": 100}, later=later), TimeLeft({"a": 100, "b": 100})
    for each in (left, alone):
        for step in range(8):
            for name in ("a", "b"):
                loss, to_come = (5.0, 1) if step < 6 else (4.0, 0)
                late = 2.0 * (step >= 6)  # an evaluation of 2 s after step 5
                each.hear(name, step + late, step, loss, to_come)
    assert left.seconds(9.0) - alone.seconds(9.0) == pytest.approx(2 * (50 + 2) + 100 + 2 * 2)


def test_what_comes_later_is_trained_in_all_slots_though_one_alone_is_seen():
    """After a resume one candidate is missing at the cut; then 4 finalists fill the 4 slots."""
    for slots, rounds in ((1, 4), (3, 2), (4, 1)):
        left = TimeLeft({"a": 100}, later=(Later(4, 50, 0),), slots=slots)
        for step in range(9):
            left.hear("a", float(step), step, 5.0, 0)
        assert left.seconds(8.0) == pytest.approx(92 + rounds * 50)


def test_of_one_that_goes_on_only_the_rest_is_to_come():
    left = TimeLeft({"a": 100, "b": 100}, {"a": 50, "b": 60})
    left.hear("a", 0.0, 0, None, 0)
    for step in range(51, 60):
        left.hear("a", float(step - 50), step, 5.0, 0)
    assert left.seconds(9.0) == pytest.approx(41 + 40)
