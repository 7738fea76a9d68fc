"""Commands in a pseudo-terminal: what a person sees, who has no pipe."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from finished import finished
from reported import without_times
from terminals import (
    command_of,
    descendants,
    hang_up,
    in_terminal,
    listening,
    press_ctrl_c,
    processes_with,
    terminate,
)

ERASED = re.compile(r"\x1b\[(?:2K|1A)")
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LAST_WORD = re.compile(r"lagsearch: interrupted; (.*[\n ])?the\s+same\s+command\s+continues")
WHERE = {
    "source small": r"small goes on from step \d+;",
    "search, ": r"\d of 5 trainings (is|are) at step 10(, [\w-]+ goes on from step \d+)?;",
    "winner lag-": r"lag-[\w-]+ goes on from step \d+;",
}
"""What the last word says of trainings, by what went on; they may have come to their end."""


def without_control(text):
    """Return what was shown, one frame below the other."""
    return SEQUENCE.sub("", ERASED.sub("\n", text)).replace("\r", "\n")


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, as /proc writes it."""


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_run_under_ray_says_what_it_does_and_is_that_of_one_process(write_space, tmp_path):
    """Its words in their order, no port that is open to others, and a report equal to the bit."""
    space, folder, open_to = write_space(), tmp_path / "run", set()

    def listen(terminal):
        while there := descendants(terminal.pid):
            if any(b"ray::" in command_of(each) for each in there):
                break
            time.sleep(0.02)
        open_to.update(listening(descendants(terminal.pid)))

    shown = in_terminal("run", space, "--out", folder, then=("starting the workers", listen))
    assert "Traceback" not in shown.text
    assert shown.code == 0
    plain = without_control(shown.text)
    said = [
        plain.index(what)
        for what in (
            *("loading torch and transformers", "planning", "source small", "loading Ray"),
            *(
                "starting Ray",
                "starting the workers",
                "stopping Ray",
                "winner lag-",
                "writing the report",
            ),
            "Winner at step 10: lag-",
        )
    ]
    assert said == sorted(said)
    report = without_times(json.loads((folder / "report.json").read_text()))
    assert report["winner"]["name"] in shown.text
    if Path("/proc/net/tcp").exists():  # Linux
        assert open_to
        assert open_to <= LOOPBACK
    alone = without_times(finished(space, tmp_path / "serial").report)
    assert [each["cost"].pop("slots") for each in (report, alone)] == [2, 1]
    assert report == alone


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("end", [press_ctrl_c, terminate])
def test_a_run_under_ray_ends_in_order_once(write_space, tmp_path, cache, end):
    space, folder = write_space(("steps: 24", "steps: 4000"), ("lag: 10", "lag: 3000")), tmp_path
    shown = in_terminal("run", space, "--out", folder / "run", then=("starting Ray", end))
    assert shown.code == 130
    assert "Traceback" not in shown.text
    assert len(LAST_WORD.findall(without_control(shown.text))) == 1
    assert gone(cache)


@pytest.mark.ray
@pytest.mark.slow
def test_a_closed_window_leaves_no_process_of_ray(write_space, tmp_path, cache):
    space = write_space(("steps: 24", "steps: 4000"), ("lag: 10", "lag: 3000"))
    words = ("run", space, "--out", tmp_path / "run")
    assert in_terminal(*words, then=("starting the workers", hang_up)).code == 130
    assert gone(cache)


def gone(cache):
    """Wait until no process is left that was given the test's cache."""
    until = time.monotonic() + 20
    while found := processes_with("LAGSEARCH_CACHE", str(cache)):
        if time.monotonic() > until:
            return not found
        time.sleep(0.2)
    return True


@pytest.mark.parametrize(
    ("shown", "end"),
    [
        pytest.param("source small", press_ctrl_c, marks=pytest.mark.slow),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [
                ("planning", press_ctrl_c),
                ("reading the text", press_ctrl_c),
                ("search, ", press_ctrl_c),
                ("search, ", terminate),
                ("search, ", hang_up),
                ("winner lag-", press_ctrl_c),
                ("writing the report", press_ctrl_c),
            ]
        ),
    ],
)
def test_a_serial_run_ends_in_order_and_continues(write_space, tmp_path, shown, end):
    words = ("run", write_space(), "--serial", "--out", tmp_path / "run")
    interrupted = in_terminal(*words, then=(shown, end))
    assert interrupted.code == 130
    assert "Traceback" not in interrupted.text
    if end is not hang_up:
        plain = without_control(interrupted.text)
        [last] = LAST_WORD.finditer(plain)
        assert plain[last.end() :].strip("\r\n^C ") in ("", "where this stopped")
        where = f"{WHERE.get(shown, '')}|continues where this stopped"
        assert re.search(where.lstrip("|"), plain[last.start() :])
    continued = in_terminal(*words)
    assert continued.code == 0
    assert "Winner at step 10: lag-" in continued.text


def test_a_command_says_at_once_that_something_goes_on(write_space):
    shown = in_terminal("plan", write_space(), columns=60)
    assert shown.code == 0
    text = without_control(shown.text)
    assert text.index("planning") < text.index("layers: ")
    assert "loading torch" not in text
    assert "lag-i0-b1-duplicate\n" in text.replace(" ", "")
    assert max(map(len, text.splitlines())) <= 60
    assert "layers: 0 0* 1 2; parameters: " in text


@pytest.mark.slow
def test_a_dumb_terminal_gets_plain_lines(write_space, tmp_path):
    shown = in_terminal("run", write_space(), "--serial", "--out", tmp_path / "run", TERM="dumb")
    assert shown.code == 0
    assert "\x1b" not in shown.text
    lines = [line.strip() for line in shown.text.splitlines()]
    assert lines[0] == "loading torch and transformers"
    assert "search: 5 trainings to step 10" in lines
    assert "source small to step 20" in lines


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 40])
def test_the_live_table_fits_a_narrow_window(write_space, tmp_path, columns):
    words = ("run", write_space(), "--serial", "--out", tmp_path / "run", "--oracle")
    shown = in_terminal(*words, "--seeds", "3,4", columns=columns, NO_COLOR="1")
    assert shown.code == 0
    assert not re.search(r"\x1b\[(?:[0-9]*;)*3[0-9]m", shown.text)  # a colour
    lines = without_control(shown.text).splitlines()
    head = next(line for line in lines if line.startswith("candidate"))
    assert head.split() == ["candidate", "step", "loss", "(step)"]
    assert any(line.startswith("lag-i2-b1-duplicate@4 ") for line in lines)
    unbroken = ("  lagsearch", *(f"{word} {tmp_path}" for word in ("Report:", "Checkpoint:")))
    unbroken += (str(tmp_path),)
    assert not [line for line in lines if len(line) > columns and not line.startswith(unbroken)]


@pytest.mark.slow
def test_outputs_part_ways(write_space, tmp_path):
    words = ("run", write_space(), "--serial", "--out", tmp_path / "run")
    with (tmp_path / "stdout").open("wb") as file:
        shown = in_terminal(*words, stdout=file)
    out = (tmp_path / "stdout").read_text()
    assert "Winner at step 10: " in out
    assert "\x1b" not in out
    assert "Winner at step 10" not in shown.text
    with (tmp_path / "stderr").open("wb") as file:
        shown = in_terminal(*words, stderr=file)
    assert (tmp_path / "stderr").read_text().startswith("loading torch and transformers\n")
    assert "Winner at step 10: " in shown.text
    assert "\x1b" not in shown.text


@pytest.mark.parametrize(
    "words",
    [
        *("plan SPACE", "-h", "operators"),
        pytest.param("run SPACE --serial --out RUN", marks=pytest.mark.slow),
    ],
)
def test_a_closed_pipe_ends_a_command_without_a_word(write_space, tmp_path, words):
    words = words.replace("SPACE", str(write_space())).replace("RUN", str(tmp_path / "run"))
    line = f"{sys.executable} -m lagsearch.cli {words} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode in (0, 141)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_completion_in_a_shell(tmp_path):
    program = Path(sys.executable).with_name("lagsearch")
    if not program.exists():
        pytest.skip("the package's command is not installed")
    script = tmp_path / "completion.sh"
    script.write_text(
        subprocess.run(
            [program, "--show-completion", "bash"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        ).stdout
    )
    began = time.monotonic()
    found = subprocess.run(
        [
            *("bash", "-c"),
            f"source {script}; COMP_WORDS=(lagsearch operators mult); COMP_CWORD=2; "
            'COMP_LINE="lagsearch operators mult"; _lagsearch_completion lagsearch; '
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
    )
    assert time.monotonic() - began < 30
    assert sorted(found.stdout.split()) == [
        "multi-combined",
        "multi-interleave",
        "multi-ligo",
        "multi-stack",
    ]
