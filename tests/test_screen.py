"""Nothing that is written steers a terminal; signals are dealt with once."""

import io
import os
import re
import signal
import subprocess
import sys
import types
from contextlib import contextmanager, nullcontext

import pytest
from rich.table import Table

from lagsearch.display.console import make_console, print_rows
from lagsearch.display.screen import (
    NobodyReads,
    printable,
    write,
)
from lagsearch.display.time_left import Later
from lagsearch.display.watch import DoneBefore, LiveWatch, PlainWatch, Progress, Watch
from lagsearch.running import interrupts
from lagsearch.running.run import _open_ray

HOSTILE = "a\x1b[2J\x9b1m\rb\x07\u202ec\ud800"
HARMLESS = r"a\x1b[2J\x9b1m\rb\x07\u202ec\ud800"


def test_control_characters_are_spelt_out():
    assert printable(HOSTILE) == HARMLESS
    assert printable("tab\tand\nline, ä °~ 日本 🙂\u200d") == "tab\tand\nline, ä °~ 日本 🙂\u200d"


def test_lines_tables_and_live_tables_are_printable(monkeypatch):
    stream = io.StringIO()
    write(HOSTILE, stream)
    PlainWatch(stream).say(HOSTILE)
    console = make_console(stream)
    console.print(HOSTILE)
    table = Table("name", "layers")
    table.add_row(HOSTILE, "1 2 [residual 32-64]")
    print_rows(console, table)
    monkeypatch.setenv("TERM", "xterm")
    watch = LiveWatch()
    watch.console = console
    with watch.during(HOSTILE, {HOSTILE: 3}), watch.doing(HOSTILE):
        watch.progress(Progress(HOSTILE, 1, 2.0, 0.0))
        watch.failed(HOSTILE, HOSTILE)
    shown = stream.getvalue()
    assert not [each for each in shown if printable(each) != each]
    assert shown.count(HARMLESS) >= 6
    assert "[residual 32-64]" in shown


def test_an_error_names_a_path_without_steering(call):

    code, _, error = call("plan", "a\x1b[31m.yaml")
    assert (code, error) == (2, "lagsearch: a\\x1b[31m.yaml: no such file\n")


def test_nobody_reads():
    read, written = os.pipe()
    os.close(read)
    with os.fdopen(written, "w") as stream:
        with pytest.raises(NobodyReads):
            write("a", stream)
        write("b", stream)  # goes nowhere, quietly


def test_a_wide_table_becomes_paragraphs_in_a_narrow_window(monkeypatch):
    table = Table(box=None, pad_edge=False)
    table.add_column("candidate", no_wrap=True)
    table.add_column("layers", min_width=10)
    table.add_column("parameters", no_wrap=True)
    table.add_row("a-long-name-of-30-characters-x", "1 2 1* 2*", "1,000")
    shown = {}
    for columns in (60, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        stream = io.StringIO()
        print_rows(make_console(stream), table)
        shown[columns] = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert shown[60] == [
        "candidate                       layers      parameters",
        "a-long-name-of-30-characters-x  1 2 1* 2*   1,000",
    ]
    assert shown[40] == [
        "a-long-name-of-30-characters-x",
        "  layers: 1 2 1* 2*; parameters: 1,000",
    ]


def test_columns_that_may_go_do_so_before_a_table_becomes_paragraphs(monkeypatch):
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "first", "second"):
        table.add_column(heading, no_wrap=True, justify="right")
    table.add_row("x" * 20, "1" * 10, "2" * 10)
    shown = {}
    for columns in (44, 43, 32, 31, 19):
        monkeypatch.setenv("COLUMNS", str(columns))
        stream = io.StringIO()
        gone = print_rows(make_console(stream), table, ("second", "first"))
        shown[columns] = (gone, stream.getvalue().splitlines()[0].split())
    assert shown[44] == ((), ["name", "first", "second"])
    assert shown[43] == shown[32] == (("second",), ["name", "first"])
    assert shown[31] == (("second", "first"), ["name"])
    assert shown[19] == ((), ["x" * 19])  # a paragraph has all


def test_a_signal_interrupts_once():
    interrupts.heed()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    ends = []
    with pytest.raises(KeyboardInterrupt):
        try:
            signal.raise_signal(signal.SIGINT)
            while True:  # Python calls the handler a moment later
                pass
        finally:
            for number in interrupts.SIGNALS:
                signal.raise_signal(number)
            ends.append("in order")
    assert ends == ["in order"]
    interrupts.ignore()
    for number in interrupts.SIGNALS:
        signal.raise_signal(number)


def test_what_was_switched_off_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    interrupts.heed()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with interrupts.kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("columns", [100, 60, 40])
def test_a_live_table_of_long_names_fits_the_window(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    watch = LiveWatch()
    stream = io.StringIO()
    watch.console = make_console(stream)
    names = [f"combined-net2net-uneven-identity-interleaved-{each}" for each in range(30)]
    names = [f"{each}-with-a-very-long-tail" for each in names]
    with watch.during("search", dict.fromkeys(names, 20)):
        watch.progress(Progress(names[7], 5, 2.5, 0.0))
        stream.truncate(0)
        stream.seek(0)
        watch.console.print(watch._shown())
        lines = stream.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= columns
    shown = "".join(re.split(r"\s{2,}|│", line.strip("│ "))[0].strip() for line in lines)
    assert names[7] in shown
    more = int(re.search(r"and (\d+) more", stream.getvalue())[1])
    assert more + sum(each in shown for each in names) >= 29


def live_lines(monkeypatch, columns, progress, before=None):
    monkeypatch.setenv("COLUMNS", str(columns))
    watch = LiveWatch()
    stream = io.StringIO()
    watch.console = make_console(stream)
    with watch.during("search", {progress.name: 20_000}, before):
        watch.progress(progress)
        stream.truncate(0)
        stream.seek(0)
        watch.console.print(watch._shown())
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("columns", [80, 40])
def test_a_loss_says_of_which_step_it_is(monkeypatch, columns):
    """The loss is that of the newest evaluation, which lies behind the row's step."""
    sign = Progress("stack", 11_260, 1.4606, 0.0, evaluated_at=10_000)
    lines = live_lines(monkeypatch, columns, sign, DoneBefore({"zero": 1.5}, 20_000))
    [row] = [line for line in lines if "stack" in line]
    assert re.search(r"11,260\W+1\.4606 \(10,000\)", row)
    assert "1.5000 (20,000)" in "".join(lines)
    assert "loss (step)" in "".join(lines)
    if columns == 80:  # names, and what stood beside them before the step did
        assert max(map(len, lines[1:])) == len("candidate") + len("11,260") + 8 + 11 + 13
    stream = io.StringIO()
    plain = PlainWatch(stream)
    with plain.during("search", {"stack": 20_000}):
        plain.wrote = -1e9
        plain.progress(sign)
    assert "stack, step 11,260, val loss 1.4606 (of step 10,000)" in stream.getvalue()


def told_after_half_a_minute(monkeypatch, before):
    """Return what a live table is headed by, and the line of one that was half done by then."""
    now = [0.0]
    monkeypatch.setattr("lagsearch.display.watch.time.monotonic", lambda: now[0])
    head, plain = "", PlainWatch(io.StringIO())
    live = LiveWatch()
    live.console = make_console(io.StringIO())
    for watch in (live, plain):
        with watch.during("search", {"stack": 60}, before):
            for step in range(31):
                now[0] += 1
                watch.progress(Progress("stack", step, 1.5, 0.0, evaluated_at=0))
            head = head or watch._shown().renderables[0].plain
    return head, plain.stream.getvalue().splitlines()[-1].strip()


@pytest.mark.parametrize(
    ("later", "head", "line"),
    [
        (None, "to step 60 in about 0:30", ", to step 60 in about 0:"),
        ((), "to step 60, about 0:30 left in all", ", about 0:"),
        ((Later(1, 90.0, 0),), "to step 60, about 2:00 left in all", ", about 2:"),
    ],
)
def test_the_time_left_is_that_of_the_run_where_it_is_known(monkeypatch, later, head, line):
    headed, told = told_after_half_a_minute(monkeypatch, DoneBefore(later=later))
    assert headed == f"search, {head}"
    assert re.match(r"\[0/1\] stack, step \d+, val loss 1.5000 \(of step 0\)" + line, told)


def test_what_is_over_says_how_far_it_came():
    watch = LiveWatch()
    watch.console = make_console(io.StringIO())
    with watch.during("search, rung 1 of 2", {"stack": 500, "zero": 500}):
        watch.finished("stack")
        watch.failed("zero", "no room")
    said = watch.console.file.getvalue().splitlines()
    assert said[-1] == "search, rung 1 of 2: 1 of 2 done, to step 500"


def test_what_goes_on_is_shown_where_it_is(monkeypatch):
    sign = Progress("next", 0, None, 0.0)
    reached = (Progress("next", 6_000, 1.7, 1.0, evaluated_at=5_000),)
    row = "".join(live_lines(monkeypatch, 80, sign, DoneBefore(reached=reached)))
    assert re.search(r"next\W+6,000\W+1\.7000 \(5,000\)", row)


def test_what_came_there_before_keeps_its_rank_and_a_baseline_has_none():
    stream = io.StringIO()
    watch = PlainWatch(stream)
    before = DoneBefore({"best": 1.0, "ungrown": 0.5}, 10, frozenset({"ungrown"}))
    with watch.during("search", {"next": 10, "last": 10}, before):
        for name, loss in (("next", 1.5), ("last", 1.2)):
            watch.progress(Progress(name, 10, loss, 1.0))
            watch.finished(name)
        assert [watch.rank(name) for name in ("best", "last", "next", "ungrown")] == [1, 2, 3, None]
    lines = stream.getvalue().splitlines()
    assert lines[0] == "search: 2 trainings to step 10; 2 came there before"
    assert lines[-1].startswith("  [4/4] last, step 10, val loss 1.2000, rank 2 so far")


def test_a_command_that_is_over_does_not_look_for_garbage():
    """Everything that is alive is out of the collector's sight when Python ends."""
    program = (
        "import atexit, gc\n"
        "from lagsearch.running import interrupts\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n"  # the first is called last
        "interrupts.heed()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert int(done.stdout) > 1000


def test_what_takes_seconds_before_the_first_table_is_said(monkeypatch):
    said = []

    class Listen(Watch):
        @contextmanager
        def doing(self, what, *, is_brief=False):
            said.append(what)
            yield

    stub = types.ModuleType("ray_tune")
    stub.open_ray = lambda *slots, **how: nullcontext("runner")
    monkeypatch.setitem(sys.modules, "lagsearch.running.workers.ray_tune", stub)
    with _open_ray(None, Listen())() as runner:
        assert (runner, said) == ("runner", ["loading Ray"])
