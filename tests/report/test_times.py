"""The table of times, from figures whose meaning is plain."""

from lagsearch.report.words.profile import tell_times


def figures(step_s, *, busy=None, peak=2**30, before=2**28):
    return {
        "device": "cpu",
        "threads": 2,
        "precision": "fp32",
        "step_s": {"median": step_s, "quartiles": [step_s / 2, step_s * 2]},
        "shares": {
            "data": 0.01,
            "forward": 0.29,
            "backward": 0.6,
            "optimizer": 0.06,
            "other": 0.04,
        },
        "evaluation_s": {"sum": 3.25, "number": 5},
        "tokens_per_s": 1024 / step_s,
        "peak_flops_per_s": 1e11,
        "model_flop_utilization": 0.4,
        "memory": {"kind": "allocated here", "peak_bytes": peak, "before_bytes": before},
        "gpu_utilization": None if busy is None else {"mean": busy, "samples": 3},
    }


def report(**profiles):
    names = ["third", "first", "second", "never"]
    ranks = {"first": 1, "second": 2, "third": 3, "never": 4}
    ranked = sorted(names, key=ranks.__getitem__)
    return {
        "candidates": [{"name": name, "rank": ranks[name]} for name in ranked],
        "profile": {name: profiles[name] for name in names if name in profiles},
    }


def test_rows_are_in_the_order_of_ranks_and_only_of_what_was_measured():
    slow, fast = figures(0.2), figures(0.1, peak=None, before=None)
    line, grid, note = tell_times(report(third=slow, second=fast)).parts
    head, rows = grid.head, grid.rows
    assert line == (
        "A training step of `second`, the best candidate measured, took 100.0 ms on 2 CPU threads "
        "in fp32, 60% of it backward, at 40% of the peak rate of matrix products."
    )
    assert dict(zip(head, rows[0], strict=True)) == {
        "rank": "2",
        "candidate": "`second`",
        "ms a step": "100.0 [50.0, 200.0]",
        "tokens/s": "10,240",
        "data": "1%",
        "forward": "29%",
        "backward": "60%",
        "optimizer": "6%",
        "other": "4%",
        "evaluation, s": "3.2",
        "FLOP utilization": "40.0%",
        "peak memory, MiB": "not known",
    }
    assert [row[1] for row in rows] == ["`second`", "`third`"]
    assert rows[1][-1] == "1,024"
    assert "allocated here (first row)" in note
    assert "GPU" not in note


def test_a_gpu_has_a_column_where_any_load_is_known():
    first, second = figures(0.1, busy=0.873), figures(0.1)
    first["device"] = second["device"] = "cuda"
    line, grid, note = tell_times(report(first=first, second=second)).parts
    head, rows = grid.head, grid.rows
    assert "100.0 ms on the GPU in fp32" in line
    assert head[-1] == "GPU busy"
    assert [row[-1] for row in rows] == ["87%", "not known"]
    assert ", 256 MiB of it held before (first row)" in note
    assert "other processes included" in note
