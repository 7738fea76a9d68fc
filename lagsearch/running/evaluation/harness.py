"""One model on one downstream task, by lm-evaluation-harness."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from math import isfinite
from typing import Any

from lagsearch.running.evaluation.isolation import sealed
from lagsearch.running.evaluation.tasks import Tasks
from lagsearch.space import AskedTask
from lagsearch.training.job import Compute
from lagsearch.training.loop import computing

_BOOTSTRAP_ROUNDS = 1000  # for standard errors that have no closed form


def evaluate_tasks(
    model: Any, tokenizer: Any, tasks: Tasks, asked: AskedTask, compute: Compute
) -> dict[str, Any]:
    """Evaluate a model on a task, or on all tasks of a tag or group, in fp32.

    Args:
        model: A causal or encoder-decoder model.
        tokenizer: Its tokenizer.
        tasks: The tasks of the space.
        asked: Which one of them.
        compute: What may be used.

    Returns:
        Plain values: `results`, a row for each task and metric; `max_length`, the tokens that the
        model takes at a time; `is_truncated`, whether a prompt was longer and lost its beginning.

    Raises:
        HarnessError: The task cannot be loaded.
    """
    with sealed(), computing(compute):
        from lm_eval.evaluator import evaluate
        from lm_eval.models.huggingface import HFLM

        loaded = tasks.load(asked)
        reader = HFLM(
            pretrained=model.to(compute.device),
            backend="seq2seq" if model.config.is_encoder_decoder else "causal",
            tokenizer=tokenizer,
            batch_size=tasks.harness.batch_size,
        )
        with _truncations() as truncations:
            found = evaluate(
                lm=reader,
                task_dict=loaded,
                limit=tasks.harness.limit,
                bootstrap_iters=_BOOTSTRAP_ROUNDS,
            )
    return {
        "lm_eval": version("lm_eval"),
        "max_length": reader.max_length,
        "batch_size": tasks.harness.batch_size,
        "is_truncated": bool(truncations),
        "results": list(_rows(found)),
    }


def _rows(found: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for each task and metric of an evaluation."""
    for name, values in found["results"].items():
        samples = found["n-samples"].get(name, {}).get("effective", values.get("sample_len"))
        for key, value in values.items():
            metric, comma, used_filter = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            yield {
                "task": name,
                "metric": metric,
                "filter": used_filter,
                "value": _number(value),
                "standard_error": _number(values.get(f"{metric}_stderr,{used_filter}")),
                "higher_is_better": found["higher_is_better"].get(name, {}).get(metric),
                "samples": samples,
                "num_fewshot": found["n-shot"].get(name),
                "task_version": _version(found["versions"].get(name)),
                "task_hash": _hash_of(found["samples"].get(name)),
            }


def _hash_of(samples: list[dict[str, Any]] | None) -> str | None:
    """Return the hash of documents, prompts and targets that lm-evaluation-harness writes too."""
    if not samples:
        return None
    from lm_eval.utils import hash_string

    hashes = (each["doc_hash"] + each["prompt_hash"] + each["target_hash"] for each in samples)
    return str(hash_string("".join(hashes)))


def _number(value: Any) -> float | None:
    """Return a finite number, None for all else: `N/A`, a perplexity beyond measure."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def _version(value: Any) -> str | None:
    return None if value is None else str(value)


@contextmanager
def _truncations() -> Iterator[list[str]]:
    """Give a list that fills with lm-evaluation-harness' warnings of prompts that are too long."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "truncat" in record.getMessage().lower():
                found.append(record.getMessage())

    logger, listener = logging.getLogger("lm_eval.models.huggingface"), Listener(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield found
    finally:
        logger.removeHandler(listener)
