"""What loggers were sent is read back by their own libraries, and is what the run recorded."""

import json
import struct
import threading

import pytest
from finished import finished
from reported import without_times

import lagsearch
from lagsearch.display.watch import Watch
from lagsearch.errors import LoggerError
from lagsearch.loggers import (
    LOGGERS,
    Follower,
    KnownLogger,
    find_loggers,
    follower,
    following,
    registry,
)
from lagsearch.records.curve import read_curve
from lagsearch.records.trainings import RunReader

pytestmark = pytest.mark.usefixtures("trained")

ALL = ("tensorboard", "wandb", "mlflow", "optuna")


class Lines(Watch):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def run(write_space, tmp_path):
    """A finished run under two seeds, with a baseline."""
    return finished(write_space(), tmp_path / "run", seeds=(3, 4)).folder


def curves_of(folder):
    """All that was measured, by the keys of trainings: {step: (loss, flops)}."""
    found = {}
    for path in sorted(folder.glob("**/curves/*.jsonl")):
        place = path.parent.parent.relative_to(folder).as_posix()
        key = f"{place}/{path.stem}".removeprefix("./")
        found[key] = {
            each.step: (each.val_loss, each.flops) for each in read_curve(path).evaluations
        }
    return found


def of_tensorboard(folder):
    """{training: {step: [loss, ...]}}, and the same over millions of FLOPs."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    steps, spent = {}, {}
    root = folder / "log/tensorboard"
    for place in sorted({each.parent for each in root.glob("**/events.*")} - {root}):
        # as TensorBoard does, file after file
        events = accumulator.EventAccumulator(str(place), size_guidance={"scalars": 0})
        events.Reload()
        key = place.relative_to(root).as_posix()
        for tag, into in (("val_loss", steps), ("val_loss_by_million_flops", spent)):
            into[key] = {}
            for each in events.Scalars(tag):
                into[key].setdefault(each.step, []).append(each.value)
    return steps, spent


def of_mlflow(folder):
    """The runs of the local store by name, and each one's history."""
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/log/mlflow/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    assert len({each.info.run_name for each in runs}) == len(runs)

    def history(run, name):
        found = {}
        for each in client.get_metric_history(run.info.run_id, name):
            found.setdefault(each.step, []).append(each.value)
        return found

    return {each.info.run_name: each for each in runs}, history


def records_of(path):
    """Yield what a file of W&B holds: blocks of 32 kB as in LevelDB's log, records of protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def of_wandb(folder):
    """{training: [(step, loss, flops), ...]}, its group, its settings and its summary."""
    pytest.importorskip("wandb")
    rows, groups, settings, summaries = {}, {}, {}, {}
    for path in sorted((folder / "log/wandb").glob("offline-run-*/*.wandb")):
        name = None
        for record in records_of(path):
            if record.HasField("run") and record.run.display_name:
                name = record.run.display_name
                groups[name] = record.run.run_group
                for item in record.run.config.update:
                    settings.setdefault(name, {})[item.key] = json.loads(item.value_json)
            if record.HasField("history"):
                items = {
                    each.key or each.nested_key[0]: json.loads(each.value_json)
                    for each in record.history.item
                }
                row = (record.history.step.num, items["val_loss"], items["flops"])
                rows.setdefault(name, []).append(row)
            if record.HasField("summary"):
                for each in record.summary.update:
                    key = each.key or each.nested_key[0]
                    summaries.setdefault(name, {})[key] = json.loads(each.value_json)
    return rows, groups, settings, summaries


def of_optuna(folder):
    import optuna
    from optuna.storages.journal import JournalFileBackend

    path = folder / "log/optuna/journal.log"
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def narrow(value):
    """Round to 32 bits, as TensorBoard does."""
    return struct.unpack("f", struct.pack("f", value))[0]


def check_curves(folder):
    """Compare what all loggers hold with the curves: each step once, and no other."""
    curves = curves_of(folder)
    steps, spent = of_tensorboard(folder)
    losses = {
        key: {step: loss for step, (loss, _) in curve.items()} for key, curve in curves.items()
    }
    assert steps == {
        key: {step: [narrow(loss)] for step, loss in curve.items()} for key, curve in losses.items()
    }
    for key, curve in curves.items():
        expected = {}
        for loss, flops in curve.values():
            expected.setdefault(flops // 10**6, []).append(narrow(loss))
        assert spent[key] == expected
    runs, history = of_mlflow(folder)
    parent = next(each for each in runs.values() if "mlflow.parentRunId" not in each.data.tags)
    assert set(runs) == {*curves, parent.info.run_name}
    for key, curve in curves.items():
        assert runs[key].data.tags["mlflow.parentRunId"] == parent.info.run_id
        for place, name in enumerate(("val_loss", "flops")):
            expected = {step: [values[place]] for step, values in curve.items()}
            assert history(runs[key], name) == expected
    rows, groups, *_ = of_wandb(folder)
    assert rows == {
        key: [(step, *values) for step, values in curve.items()] for key, curve in curves.items()
    }
    assert len({*groups.values()}) == 1
    trials = [each for study in of_optuna(folder).values() for each in study.trials]
    named = {each.user_attrs["name"]: each.intermediate_values for each in trials}
    assert len(named) == len(trials)
    is_baseline = {each.key: each.is_baseline for each in RunReader(folder).trainings()}
    assert named == {key: curve for key, curve in losses.items() if not is_baseline[key]}


def test_all_loggers_have_the_curves_and_the_outcome(run, call):
    code, out, err = call("log", run, "--to", ",".join(ALL))
    assert code == 0, err
    assert f"log: tensorboard: tensorboard --logdir {run / 'log/tensorboard'}" in out
    check_curves(run)

    report = json.loads((run / "report.json").read_text())
    runs, history = of_mlflow(run)
    _, _, settings, summaries = of_wandb(run)
    (study,) = of_optuna(run).values()
    trials = {each.user_attrs["name"]: each for each in study.trials}
    lag, curves = report["lag"], curves_of(run)
    assert min(map(len, curves.values())) > 4
    assert len(report["candidates"]) == 4
    for each in report["candidates"]:
        for seed in report["seeds"]:
            key = each["name"] if seed == 3 else f"{each['name']}@{seed}"
            at_lag = each["val_loss_by_seed"][str(seed)][str(lag)]
            last = curves[key][max(curves[key])][0]
            told = {"rank": each["rank"], "val_loss_at_lag": at_lag, "final_val_loss": last}
            assert {name: history(runs[key], name)[lag] for name in told} == {
                name: [value] for name, value in told.items()
            }
            assert runs[key].info.status == "FINISHED"
            params = runs[key].data.params
            assert params["layer_map"] == each["layer_map"]
            assert params["index"] == str(each["settings"]["index"])
            assert told.items() <= summaries[key].items()
            is_winner = each["name"] == report["winner"]["name"]
            assert summaries[key]["is_winner"] is is_winner
            assert settings[key]["layer_map"] == each["layer_map"]
            trial = trials[key]
            assert (trial.state.name, trial.value) == ("COMPLETE", at_lag)
            expected = {"operator": each["operator"]} | each["settings"]
            assert trial.params == {
                name: value if isinstance(value, str | int | float) else str(value)
                for name, value in expected.items()
            }
            assert trial.user_attrs["layer_map"] == each["layer_map"]
            assert trial.user_attrs["rank"] == each["rank"]
    winner = report["winner"]
    assert history(runs[winner["name"]], "final_val_loss")[lag] == [
        winner["val_loss"][str(report["steps"])]
    ]
    assert summaries["continue"]["status"] == "ok" and "rank" not in summaries["continue"]


@pytest.mark.slow
def test_a_run_that_was_killed_is_logged_on_without_a_step_twice_or_missing(run):
    """The folder as it was at two moments, the loggers let go of in between without a word."""
    whole = {path: path.read_bytes() for path in run.glob("curves/*.jsonl")}
    loggers, said = find_loggers(ALL), []
    report = (run / "report.json").read_bytes()
    (run / "report.json").unlink()
    for share in (0.3, 0.7):
        for path, content in whole.items():
            lines = content.splitlines(keepends=True)
            path.write_bytes(b"".join(lines[: int(len(lines) * share)]) + b'{"step": 1')
        killed = Follower(run, loggers, said.append)
        killed.update()
        killed.update()
        for each in killed._sent:  # what the operating system does for a killed process
            if each.known.name == "wandb":
                each.close()
        killed._lock.release()
        check_curves(run)
    for path, content in whole.items():
        path.write_bytes(content)
    (run / "report.json").write_bytes(report)
    Follower(run, loggers, said.append).close()
    check_curves(run)
    assert len(said) == len(ALL)
    Follower(run, loggers, said.append).close()  # and once more, when all is there
    check_curves(run)
    _, history = of_mlflow(run)
    runs, _ = of_mlflow(run)
    assert all(
        len(values) == 1
        for key, each in runs.items()
        for values in history(each, "final_val_loss").values()
    )


def test_what_was_synced_of_wandb_stays_and_is_not_sent_again(run):
    loggers = find_loggers("wandb")
    path = next(run.glob("curves/continue.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    Follower(run, loggers, lambda line: None).close()
    for each in (run / "log/wandb").glob("offline-run-*/*.wandb"):
        each.with_name(f"{each.name}.synced").touch()
    path.write_bytes(b"".join(lines))
    Follower(run, loggers, lambda line: None).close()
    assert len(list((run / "log/wandb").glob("offline-run-*"))) == 2 * len(curves_of(run))
    rows, *_ = of_wandb(run)
    assert {key: [step for step, *_ in found] for key, found in rows.items()} == {
        key: [*curve] for key, curve in curves_of(run).items()
    }


@pytest.mark.slow
def test_a_run_with_stages_is_logged_while_it_goes_on(write_stages, tmp_path):
    watch = Lines()
    lagsearch.run(
        write_stages(), out=tmp_path / "run", serial=True, seeds=(3, 4), log=ALL, watch=watch
    )
    check_curves(tmp_path / "run")
    studies = of_optuna(tmp_path / "run")
    assert "tiny-stages adaptive/stage-2" in studies
    assert len([line for line in watch.lines if line.startswith("log: ")]) == len(ALL)
    report = json.loads((tmp_path / "run/adaptive/stage-2/report.json").read_text())
    best = studies["tiny-stages adaptive/stage-2"].best_trial
    assert best.user_attrs["candidate"] == report["winner"]["name"]
    assert best.value == report["winner"]["val_loss"][str(report["lag"])]


def test_sampled_candidates_are_trials_with_curves(write_space, tmp_path):
    space = write_space(
        ("search: {{lag: 10}}".format(), "search: {lag: 10, strategy: optuna, candidates: 3}")
    )
    run = lagsearch.run(space, out=tmp_path / "run", serial=True, log="optuna", watch=Watch())
    sampled = Follower(run.folder, find_loggers("optuna"), lambda line: None)
    plans = run.folder / "plans.json"
    whole = plans.read_text()
    fewer = json.loads(whole)
    fewer["candidates"] = fewer["candidates"][:1]
    plans.write_text(json.dumps(fewer))
    sampled.update()
    plans.write_text(whole)
    sampled.close()
    (study,) = of_optuna(run.folder).values()
    ranked = sorted(study.trials, key=lambda trial: trial.value)
    assert [each.user_attrs["name"] for each in ranked] == [each.name for each in run.candidates]


def test_a_failed_candidate_is_a_failed_trial(run):
    name = json.loads((run / "report.json").read_text())["candidates"][-1]["name"]
    path = run / f"curves/{name}.jsonl"
    first = path.read_text().splitlines()[0]
    path.write_text(f'{first}\n{{"step": 0, "failed": "loss is nan"}}\n')
    said = []
    Follower(run, find_loggers("optuna,mlflow"), said.append).close()
    (study,) = of_optuna(run).values()
    states = {each.user_attrs["name"]: each.state.name for each in study.trials}
    assert states[name] == "FAIL" and [*states.values()].count("FAIL") == 1
    runs, _ = of_mlflow(run)
    assert {key for key, each in runs.items() if each.info.status == "FAILED"} == {name}


class Memory:
    """A logger that keeps what it was sent, and fails where it is told to."""

    where = "memory"

    def __init__(self, fails=""):
        self.fails, self.calls, self.steps, self.begun = fails, [], [], threading.Event()

    def __getattr__(self, name):
        if name not in ("held", "log", "conclude", "close"):
            raise AttributeError(name)

        def call(training=None, what=None):
            self.calls.append(name)
            if name == self.fails:
                raise ConnectionError("no network")
            if name == "log":
                self.steps += [(training.key, each.step) for each in what]
                self.begun.set()
            return -1 if name == "held" else None

        return call

    @property
    def known(self):
        return KnownLogger("memory", "", None, "", lambda: None, lambda folder, run: self)


@pytest.fixture
def enter(monkeypatch):
    """Enter a logger for a test."""

    def put(memory):
        LOGGERS.names()
        monkeypatch.setitem(LOGGERS._entries, "memory", (memory.known, "test"))

    return put


@pytest.mark.parametrize(
    "fails",
    [
        "log",
        "close",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("held", "conclude")),
    ],
)
def test_a_logger_that_fails_is_told_once_and_harms_nothing(write_space, tmp_path, enter, fails):
    space, watch, memory = write_space(), Lines(), Memory(fails)
    enter(memory)
    plain = finished(space, tmp_path / "plain")
    loggers = ("memory", "optuna")
    run = lagsearch.run(space, out=tmp_path / "run", serial=True, log=loggers, watch=watch)
    assert without_times(run.report) == without_times(plain.report)
    told = [line for line in watch.lines if "memory" in line]
    assert len(told) == 1
    rest = f"`lagsearch log {tmp_path / 'run'} --to memory` sends it later"
    assert told[0].startswith("log: memory failed, ConnectionError: no network")
    assert told[0].endswith(rest)
    assert memory.calls.count(fails) == 1
    (study,) = of_optuna(tmp_path / "run").values()
    assert len(study.trials) == len(run.candidates)


def test_evaluations_are_sent_while_the_run_goes_on(run):
    memory, said = Memory(), []
    with following(run, [memory.known], said.append, every_s=0.01):
        assert memory.begun.wait(60)
        assert "conclude" not in memory.calls
    assert sorted(memory.steps) == sorted(
        (key, step) for key, curve in curves_of(run).items() for step in curve
    )
    assert said == ["log: memory: memory"]
    assert memory.calls[-1] == "close"


def test_a_logger_that_does_not_answer_is_left(run, monkeypatch):
    monkeypatch.setattr(follower, "LONGEST_WAIT_S", 0.05)
    is_over, said = threading.Event(), []

    class Stuck(Memory):
        def held(self, training):
            is_over.wait(60)
            return -1

    with following(run, [Stuck().known], said.append):
        pass
    is_over.set()
    assert said == [
        f"log: memory: no answer for 0 s; `lagsearch log {run} --to memory` sends it later"
    ]


def test_two_processes_do_not_log_the_same_run(run):
    first, said = Follower(run, [Memory().known], said_by_none), []
    first.update()
    thread = threading.Thread(target=Follower(run, [Memory().known], said.append).close)
    thread.start()
    thread.join()
    assert len(said) == 1 and "another process logs this run" in said[0]
    first.close()


def said_by_none(line):
    assert line == "log: memory: memory"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("tensorbord", "logger 'tensorbord' is unknown; did you mean 'tensorboard'? known: mlflow"),
        ("mlflow,mlflow", "logger mlflow is named twice"),
        ("", "logger '' is unknown"),
    ],
)
def test_a_wrong_name_is_one_line_before_anything_is_written(
    call, write_space, tmp_path, names, message
):
    for words in (("run", write_space(), "--out", tmp_path / "run", "--log"), ("log", ".", "--to")):
        code, _, err = call(*words, names)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_library_is_one_line_with_the_command(
    call, write_space, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(registry, "find_spec", lambda module: None)
    code, _, err = call("run", write_space(), "--out", tmp_path / "run", "--log", name)
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert f"pip install 'lagsearch[{name}]'" in err
    assert not (tmp_path / "run").exists()


def test_wandb_without_a_key_is_told_before_anything_trains(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(LoggerError, match="there is no API key: `wandb login`, or WANDB_MODE=off"):
        find_loggers("wandb")


def test_no_run_folder_is_one_line(call, tmp_path):
    code, _, err = call("log", tmp_path, "--to", "optuna")
    assert code == 2 and f"{tmp_path}: not a run folder" in err


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////a b/mlflow.db", "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'"),
        ("postgresql://me:secret@db/x", "mlflow ui --backend-store-uri postgresql://...@db/x"),
        ("https://me:secret@host/path", "https://...@host/path"),
    ],
)
def test_where_mlflow_is_seen_tells_no_password(uri, shown):
    from lagsearch.loggers.mlflow import _where

    assert _where(uri) == shown
