"""Curves from elsewhere: the same statistics as of a run folder, by any library's count."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lagsearch.errors import CurvesError, LagsearchError, RunFolderError
from lagsearch.records.curve import (
    Curve,
    Evaluation,
    Failure,
)
from lagsearch.records.folder import RunFolder
from lagsearch.records.imported_curves import Asked, read_curves
from lagsearch.records.imported_rows import read_rows
from lagsearch.records.run import read_run
from lagsearch.records.search import Terms, conclude
from lagsearch.report.numbers.stage import build_numbers
from lagsearch.report.numbers.statistics import statistics
from lagsearch.report.of_curves import report_curves
from lagsearch.report.words.advice import advise_next
from lagsearch.report.words.verdict import judge
from lagsearch.selection import SearchSettings

REPORTS = Path(__file__).parents[2] / "reports"
SHARED = Path(__file__).parents[3] / "shared" / "data" / "curves"
STEPS = (0, 1, 2, 5, 10, 20, 50, 100)


def made_frame(n=7, seeds=(0,), batches=1, steps=STEPS, seed=1):
    """Return losses that cross on their way, as a table of one row for each loss."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(n):
        quality, height = draw.normal(0, 0.1), abs(draw.normal(0.5, 0.3))
        for one in seeds:
            for step in steps:
                for batch in range(batches):
                    loss = 2 + quality + height / (1 + step) + draw.normal(0, 0.02)
                    rows.append((f"c{number}", step, one, batch, loss))
    frame = pd.DataFrame(rows, columns=["candidate", "step", "seed", "batch", "val_loss"])
    absent = [name for name, many in (("seed", len(seeds)), ("batch", batches)) if many == 1]
    return frame.drop(columns=absent)


def written(frame, path, kind="csv"):
    path = path / f"curves.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


def text(tmp_path, body, name="curves.csv"):
    path = tmp_path / name
    path.write_text(body)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("seeds", "batches"), [((0,), 1), ((0,), 6), ((3, 5, 8), 4), ((1, 2), 1)])
def test_the_numbers_are_those_of_pandas_and_scipy(tmp_path, kind, seeds, batches):
    frame = made_frame(seeds=seeds, batches=batches)
    shuffled = frame.sample(frac=1, random_state=0)
    shuffled = pd.concat([frame.iloc[:: len(frame) // 7], shuffled]).drop_duplicates()
    path = written(shuffled, tmp_path, kind)
    found = statistics(read_curves(path, Asked(lag=10)))
    means = frame.groupby(["candidate", "step"])["val_loss"].mean().unstack()
    assert [each["name"] for each in found["candidates"]] == list(means[10].sort_values().index)
    assert found["winner"]["name"] == means[10].idxmin()
    for each in found["candidates"]:
        losses = {int(step): loss for step, loss in each["val_loss"].items()}
        assert losses == pytest.approx(means.loc[each["name"]].to_dict())
    oracle = found["oracle"]
    assert oracle["candidate"] == means[100].idxmin()
    for step in STEPS:
        rank = stats.spearmanr(means[step], means[100]).statistic
        assert oracle["spearman"][str(step)]["value"] == pytest.approx(rank)
        lost = means[100][means[step].idxmin()] - means[100].min()
        assert oracle["regret"][str(step)]["value"] == pytest.approx(lost)
        share = lost / np.ptp(means[100])
        assert oracle["relative_regret"][str(step)]["value"] == pytest.approx(share)
    assert found["seeds"] == list(seeds)
    assert found["batches"] == batches


def test_batches_are_paired_as_in_a_run(tmp_path):
    frame = made_frame(n=4, batches=8)
    found = statistics(read_curves(written(frame, tmp_path), Asked(lag=20)))
    at_lag = frame[frame.step == 20].pivot(index="batch", columns="candidate", values="val_loss")
    winner = at_lag.mean().idxmin()
    tests = {
        name: stats.ttest_rel(at_lag[name], at_lag[winner]).pvalue
        for name in at_lag
        if name != winner
    }
    tied, apart = [], True
    for place, (name, p_value) in enumerate(sorted(tests.items(), key=lambda each: each[1])):
        apart = apart and p_value <= 0.05 / (len(tests) - place)
        tied += [] if apart else [name]
    assert sorted(found["doubt"]["indistinguishable_from_winner"]) == sorted(tied)
    for each in found["candidates"]:
        error = stats.sem(at_lag[each["name"]])
        assert each["val_loss_se"]["20"] == pytest.approx(error)


def test_a_loss_measured_once_has_no_intervals_and_no_ties(tmp_path):
    path = written(made_frame(), tmp_path)
    found = statistics(read_curves(path, Asked(lag=10))) | {"curves": str(path)}
    assert found["doubt"]["indistinguishable_from_winner"] is None
    assert found["oracle"]["indistinguishable_from_best"] is None
    for each in found["candidates"]:
        assert each["rank_interval"] is each["p_best"] is each["val_loss_se"]["10"] is None
    assert found["oracle"]["spearman"]["10"]["interval"] is None
    line = judge(found).lines[-1]
    assert "Each loss was measured once" in line
    assert "t-test" not in line


losses = st.floats(0.5, 9, allow_nan=False)


@st.composite
def recorded(draw):
    """Curves as a run records them: by seed, some failed, and K, the end, and a baseline."""
    n, n_seeds, size = draw(st.integers(2, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    steps = sorted({0, 10, *draw(st.sets(st.integers(1, 99), max_size=4)), 100})
    by_seed = {}
    for number in range(n):
        fails_at = draw(st.sampled_from([None, None, None, 0, 10, 100])) if number > 1 else None
        curves = []
        for place in range(n_seeds):
            end = 101 if fails_at is None or place else fails_at
            batches = [
                (step, tuple(draw(st.lists(losses, min_size=size, max_size=size))))
                for step in steps
                if step < end
            ]
            evaluations = tuple(
                Evaluation(step, math.fsum(each) / size, each, 0.0, 0) for step, each in batches
            )
            why = Failure(fails_at, "the validation loss is nan") if end < 101 else None
            curves.append(Curve(evaluations, why))
        by_seed[f"c-{number}"] = tuple(curves)
    return by_seed, tuple(range(n_seeds)), draw(st.sampled_from(["c-1", None]))


def exported(by_seed, seeds):
    rows = []
    for name, curves in by_seed.items():
        for seed, curve in zip(seeds, curves, strict=True):
            for each in curve.evaluations:
                batches = enumerate(each.val_loss_batches)
                rows += [(name, seed, each.step, batch, loss) for batch, loss in batches]
            if curve.failure:
                rows.append((name, seed, curve.failure.step, 0, math.nan))
    return pd.DataFrame(rows, columns=["candidate", "seed", "step", "batch", "val_loss"])


@settings(max_examples=25)
@given(recorded(), st.sampled_from(["csv", "parquet"]))
def test_exported_curves_give_the_statistics_that_they_had(tmp_path_factory, made, kind):
    by_seed, seeds, baseline = made
    others = [name for name in by_seed if name != baseline]
    alive = [name for name in others if not any(each.failure for each in by_seed[name])]
    terms = Terms(
        name="curves",
        seed=0,
        seeds=seeds,
        settings=SearchSettings((10,), 100),
        asked_lag=10,
        has_oracle=len(alive) > 1,
        baselines=frozenset([baseline] if baseline else []),
    )
    wanted = statistics(conclude(terms, by_seed, Path("run")))
    path = written(exported(by_seed, seeds), tmp_path_factory.mktemp("made"), kind)
    asked = Asked(lag=10, end=100, baselines=tuple(terms.baselines))
    assert statistics(read_curves(path, asked)) == wanted


@pytest.mark.parametrize("name", ["quickstart-oracle", "lag-ul2-12to16-laptop"])
def test_a_run_exported_gives_the_statistics_of_its_folder(tmp_path, name):
    run = read_run(RunFolder(REPORTS / name))
    wanted = build_numbers(run)
    path = written(exported(run.by_seed, run.terms.seeds), tmp_path)
    asked = Asked(run.lag, run.completion, tuple(run.terms.baselines))
    found = statistics(read_curves(path, asked))
    for key in ("doubt", "oracle", "phase_transition", "lag", "steps", "batches", "seeds"):
        assert found[key] == wanted[key], key
    told = ("name", "rank", "rank_interval", "p_best", "status", "is_baseline", "signal")
    for ours, theirs in zip(found["candidates"], wanted["candidates"], strict=True):
        assert {key: ours[key] for key in told} == {key: theirs[key] for key in told}
        assert ours["val_loss"] == theirs["val_loss"]
        assert ours["val_loss_se"] == theirs["val_loss_se"]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/curves")
@pytest.mark.parametrize("file", ["shakespeare_2to8.csv", "shakespeare_6to9.csv"])
def test_recorded_curves_of_another_trainer(tmp_path, file):
    folder, report = report_curves(SHARED / file, Asked(lag=200), tmp_path / "out")
    means = pd.read_csv(SHARED / file).pivot(index="candidate", columns="step", values="val_loss")
    end = max(means.columns)
    rank = stats.spearmanr(means[200], means[end]).statistic
    assert report["oracle"]["spearman"]["200"]["value"] == pytest.approx(rank)
    assert report["winner"]["name"] == means[200].idxmin()
    assert report["steps"] == end
    assert json.loads((folder / "report.json").read_text()) == report


def test_k_is_where_the_ranking_is_stable_or_half_of_the_end(tmp_path):
    steps = (0, 10, 20, 30, 40, 60, 80, 100, 150, 200, 400)
    rows = []
    for number in range(6):
        for step in steps:
            worse = -number if step < 25 else number  # the order turns round once
            rows.append((f"c{number}", step, 2 + 0.1 * worse + 1 / (1 + step)))
    frame = pd.DataFrame(rows, columns=["candidate", "step", "val_loss"])
    found = statistics(read_curves(written(frame, tmp_path)))
    assert found["search"]["stable_since"] == 30
    assert (found["lag"], found["search"]["reason"]) == (60, "stable")
    assert found["winner"]["name"] == "c0"
    frame = frame[frame.step != 30]
    frame.loc[frame.step >= 25, "val_loss"] = 4 - frame.val_loss  # now it never turns
    found = statistics(read_curves(written(frame, tmp_path)))
    assert (found["lag"], found["search"]["reason"]) == (200, "bound")


def test_who_has_no_loss_at_the_end_is_ranked_and_not_scored(tmp_path):
    frame = made_frame()
    frame = frame[(frame.candidate != "c3") | (frame.step <= 50)]
    found = statistics(read_curves(written(frame, tmp_path), Asked(lag=10)))
    assert found["steps"] == 100
    assert len(found["candidates"]) == 7
    assert found["oracle"]["scored"] == ["c0", "c1", "c2", "c4", "c5", "c6"]
    assert statistics(read_curves(written(frame, tmp_path), Asked(10, 50)))["steps"] == 50
    alone = frame[(frame.candidate == "c0") | (frame.step <= 50)]
    found = statistics(read_curves(written(alone, tmp_path), Asked(lag=10)))
    assert (found["steps"], found["oracle"]) == (100, None)


def test_steps_need_not_begin_at_zero_nor_be_the_same_for_all(tmp_path):
    frame = made_frame()
    frame = frame[frame.step > 0]
    frame = frame[(frame.candidate != "c3") | (frame.step != 5)]
    path = written(frame, tmp_path)
    folder, report = report_curves(path, Asked(lag=10), tmp_path / "out")
    assert "loss at 1 |" in (folder / "report.md").read_text()
    assert [row["name"] for row in report["baselines"]] == ["oracle", "LAG@10"]
    means = frame.pivot(index="candidate", columns="step", values="val_loss")
    both = means[[5, 100]].dropna()
    rank = stats.spearmanr(both[5], both[100]).statistic
    assert report["oracle"]["spearman"]["5"]["value"] == pytest.approx(rank)
    folder, report = report_curves(
        written(frame[frame.step >= 10], tmp_path), Asked(lag=10), folder
    )
    assert report["lag"] == 10


@pytest.mark.parametrize("word", ["nan", "", "inf", "NaN", "-inf"])
def test_a_loss_that_is_no_number_is_a_failed_candidate(tmp_path, word):
    rows = ["candidate,step,val_loss", *(f"{name},{s},{s}.5" for name in "ab" for s in (0, 10, 20))]
    body = "\n".join([*rows, "c,0,1.0", f"c,10,{word}", "c,20,1.0"]) + "\n"
    found = statistics(read_curves(text(tmp_path, body), Asked(lag=10)))
    last = found["candidates"][-1]
    assert (last["name"], last["status"]) == ("c", "failed")
    assert last["failure"].startswith("step 10: the validation loss is")
    assert last["val_loss"] == {"0": 1.0}
    assert found["oracle"]["scored"] == ["a", "b"]


HEAD = "candidate,step,val_loss\n"
WRONG = [
    (
        "candidate,step\na,1\n",
        "has no column val_loss, but candidate, step; needed: candidate, step, val_loss",
    ),
    ("candidate,step,valloss\n", "has no column val_loss, but candidate, step, valloss; needed: "),
    ("candidate|step|val_loss\na|1|2\n", "has no column candidate, but candidate|step|val_loss;"),
    ("candidate;step;val_loss\na;0;2,5\na;1;2.5\n", ":3: val_loss '2.5': a point, where losses"),
    ("candidate;step;val_loss\na;1.000;2,5\n", ":2: step '1.000': a point, where losses have"),
    ("candidate;step;val_loss\na;1,000;2,5\n", ":2: step '1,000': not a number"),
    (f'{HEAD}a,1,"2,345"\n', ":2: val_loss '2,345': not a number"),
    ("Step,a - val,a - eval\n0,1,2\n", "has several metrics ('val', 'eval'): export the valid"),
    ("a - loss,b - loss\n1,2\n", "no column of steps beside 'a - loss'"),
    ("candidate,step,step,val_loss\n", "column step comes twice"),
    ("", "Empty CSV"),
    (HEAD, "has no rows"),
    (f"{HEAD}a,1,2.0\n\nb,1,x\n", ":4: val_loss 'x': not a number"),
    (f"{HEAD}a,1,2.0\nb,1,1_0\n", ":3: val_loss '1_0': not a number"),
    (f"{HEAD}a,1,2.0\nb,1.5,2.0\n", ":3: step '1.5': not a whole number, 0 or more"),
    (f"{HEAD}a,1,2.0\nb,-1,2.0\n", ":3: step '-1': not a whole number"),
    (f"{HEAD}a,1,2.0\nb,,2.0\n", ":3: step '': not a whole number"),
    (f"{HEAD}a,soon,2.0\n", ":2: step 'soon': not a number"),
    ("candidate,step,val_loss,seed\na,1,2.0,x\n", ":2: seed 'x': not a number"),
    (f"{HEAD}a,1,2.0\nb,1\n", ":3: 2 values, not 3"),
    (f"{HEAD}a,1,2.0\nb,1,2.0,9\n", ":3: 4 values, not 3"),
    (f"{HEAD}a,1,2.0\n ,1,2.0\n", ":3: candidate '': has no name"),
    (f"{HEAD}a`b,1,2.0\n", ":2: candidate 'a`b': a name may have no line breaks"),
    (f"{HEAD}a,1,2.0\nb,1,2.0\n\na,1,2.5\n", ":5: candidate 'a', step 1 stands there before"),
    (
        "candidate,step,val_loss,seed\na,1,2.0,0\na,1,2.0,1\nb,1,2.0,0\n",
        "candidate 'b' has no seed 1; every candidate needs the same seeds",
    ),
    (
        "candidate,step,val_loss,batch\na,1,2.0,0\na,1,2.0,1\nb,1,2.0,1\n",
        ":4: candidate 'b', step 1 has 1 of the 2 validation batches",
    ),
    (f"{HEAD}a,0,2.0\nb,0,2.0\n", "there is no step after 0 at which all candidates have a loss"),
    (f"{HEAD}a,1,nan\nb,1,nan\n", "all candidates failed"),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=[each[1][:40] for each in WRONG])
def test_what_is_wrong_is_told_with_its_line(tmp_path, body, message):
    path = text(tmp_path, body)
    with pytest.raises(LagsearchError) as caught:
        report_curves(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["curves.csv"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            Asked(lag=7),
            "--lag 7: candidate 'c0' has no loss there; all candidates have one at 1, 2",
        ),
        (Asked(lag=100, end=50), "--lag 100: candidate 'c0' has no loss there, the end is at 50"),
        (Asked(end=70), "--end 70: no candidate has a loss there"),
        (Asked(baselines=("none",)), "--baseline none: there is no such candidate"),
    ],
)
def test_what_is_asked_for_and_not_there_is_refused(tmp_path, asked, message):
    path = written(made_frame(), tmp_path)
    with pytest.raises(CurvesError, match=message):
        read_curves(path, asked)


def test_parquet_rows_are_named_and_other_types_refused(tmp_path):
    frame = made_frame()
    frame["step"] = frame["step"].astype(float)
    assert read_rows(written(frame, tmp_path, "parquet")).step.tolist() == frame["step"].tolist()
    frame.loc[4, "step"] = 1.25
    with pytest.raises(CurvesError, match=r"parquet: row 5: step 1.25: not a whole number"):
        read_rows(written(frame, tmp_path, "parquet"))
    frame["step"] = pd.Timestamp("2026-01-01")
    with pytest.raises(CurvesError, match="column step holds timestamp"):
        read_rows(written(frame, tmp_path, "parquet"))
    with pytest.raises(CurvesError, match=r"broken\.parquet"):
        read_rows(text(tmp_path, "no parquet", "broken.parquet"))
    with pytest.raises(CurvesError, match="no such file"):
        read_rows(tmp_path / "none.csv")


def test_names_are_categories_or_numbers_too(tmp_path):
    frame = made_frame(n=3)
    frame["candidate"] = frame["candidate"].astype("category")
    assert read_rows(written(frame, tmp_path, "parquet")).names == ("c0", "c1", "c2")
    frame["candidate"] = frame["candidate"].cat.codes.astype("int32")
    assert read_rows(written(frame, tmp_path, "parquet")).names == ("0", "1", "2")


def test_the_report_stands_beside_the_file_and_overwrites_nothing_else(tmp_path):
    path = written(made_frame(batches=3), tmp_path)
    folder, report = report_curves(path, Asked(lag=10))
    assert folder == tmp_path / "curves"
    names = {each.relative_to(folder).as_posix() for each in folder.rglob("*.*")}
    assert {"report.md", "report.html", "report.json", "figures/loss.svg"} <= names
    tables = {name for name in names if name.startswith("tables/")}
    wanted = ("ranking", "loss", "early_and_final", "recall_and_regret", "rank_correlation")
    assert tables == {f"tables/{name}.csv" for name in wanted}
    for absent in ("cost", "savings", "importance", "sources", "harness"):
        assert not report[absent]
    page = (folder / "report.md").read_text()
    assert "FLOPs" not in page
    assert "layers" not in page
    ranking = pd.read_csv(folder / "tables" / "ranking.csv")
    assert not {"flops", "parameters", "layer_map", "operator", "wall_s"} & set(ranking.columns)
    report_curves(path, Asked(lag=20))  # its own report is written anew
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(CurvesError, match="has files, but no report of curves"):
        report_curves(path, Asked(lag=10), other)
    with pytest.raises(CurvesError, match="has files, but no report of curves"):
        report_curves(path, Asked(lag=10), REPORTS / "quickstart-oracle")
    with pytest.raises(CurvesError, match="is no folder"):
        report_curves(path, Asked(lag=10), other / "notes.txt")


HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "$\\frac$ | %{x}",
)


def test_names_are_text_wherever_they_stand(tmp_path):
    frame = made_frame(n=3, batches=2)
    frame["candidate"] = frame["candidate"].map(dict(zip(("c0", "c1", "c2"), HOSTILE, strict=True)))
    folder, report = report_curves(written(frame, tmp_path), Asked(lag=10))
    assert {each["name"] for each in report["candidates"]} == set(HOSTILE)
    page = (folder / "report.html").read_text()
    assert "alert(1)</script>" not in page
    assert "<img" not in page


def test_what_to_do_next_names_the_file_and_another_step(tmp_path):
    frame = made_frame(n=8, batches=4)
    early = frame.step < 40
    frame.loc[early, "val_loss"] = 5 - frame.val_loss[early]  # the wrong way round before
    path = written(frame, tmp_path)
    _, report = report_curves(path, Asked(lag=10, baselines=("c7",)))
    said = advise_next(report, tmp_path / "curves")
    assert said.command == (
        f"lagsearch report {path} --baseline c7 --lag 50 --end 100 --out {tmp_path}/curves-lag50"
    )
    assert advise_next(report_curves(path, Asked(lag=50))[1], tmp_path / "curves").command is None


def test_the_command_line(call, tmp_path):
    path = written(made_frame(), tmp_path)
    code, out, err = call("report", path, "--lag", "20", "--out", tmp_path / "out")
    assert code == 0, err
    assert out.startswith("Winner at step 20: ")
    assert "Cost" not in out
    for arguments, message in (
        ([path, "--lag", "3"], "--lag 3: candidate 'c0' has no loss there"),
        ([path, "--pack"], "--pack is for run folders"),
        ([REPORTS / "quickstart-oracle", "--lag", "20"], "--lag is for curves from elsewhere"),
        ([tmp_path / "none.csv"], "no such file"),
    ):
        code, out, err = call("report", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


def test_replay_takes_them_too(tmp_path):
    from lagsearch.replay.replay import lag_outcome, recordings

    frame = made_frame(seeds=(0, 1))
    found = recordings(written(frame, tmp_path))
    assert [each.seed for each in found] == [0, 1]
    means = frame.groupby(["candidate", "step"])["val_loss"].mean().unstack()
    for each in found:
        own = frame[(frame.seed == each.seed) & (frame.step == 10)].set_index("candidate").val_loss
        lost = means[100][own.idxmin()] - means[100].min()
        outcome = lag_outcome(each, 10, "10")
        assert outcome.given_away.relative_regret == pytest.approx(lost / np.ptp(means[100]))
        assert outcome.steps == 70


@pytest.mark.parametrize("steps", [(1, 10, 100), (900, 1000)])
def test_replay_needs_neither_the_first_step_nor_one_before_half(tmp_path, steps):
    from lagsearch.replay.replay import plays, recordings

    [recording] = recordings(written(made_frame(n=3, steps=steps), tmp_path))
    judged = [
        found.until for each in plays(recording, steps[-2], ["loss"]) if (found := each.play()).lag
    ]
    assert str(steps[-2]) in judged
    assert "half" in judged


def test_replay_refuses_what_it_cannot_replay(tmp_path):
    from lagsearch.replay.replay import replay_runs

    path = written(made_frame(n=3, steps=(0, 100)), tmp_path)
    with pytest.raises(RunFolderError, match="no step between growth and the final step"):
        replay_runs([path])
    path = written(made_frame(n=3), tmp_path)
    with pytest.raises(RunFolderError, match="comes twice"):
        replay_runs([path, tmp_path / "." / path.name])


def test_replay_tells_runs_of_one_name_apart(tmp_path, monkeypatch):
    from lagsearch.replay import replay

    monkeypatch.setattr(replay, "RIVALS", {})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    paths = [written(made_frame(n=3, seed=seed), tmp_path / "ab"[seed]) for seed in (0, 1)]
    assert set(replay.replay_runs(paths, 10)["run"]) == set(map(str, paths))


def test_rank_right_after_growth_where_asked_for(tmp_path, monkeypatch):
    from lagsearch import cli

    path = written(made_frame(), tmp_path)
    monkeypatch.setattr("sys.argv", ["lagsearch", "report", str(path), "--lag", "0"])
    cli.main()
    assert json.loads((tmp_path / "curves" / "report.json").read_text())["lag"] == 0
