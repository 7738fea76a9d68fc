"""The tasks of lm-evaluation-harness that a space asks for: found, checked, loaded."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lagsearch.errors import HarnessError, did_you_mean
from lagsearch.running.evaluation.isolation import sealed
from lagsearch.space import AskedTask, Harness, asked_tasks
from lagsearch.storage.files import (
    digest,
    file_digest,
    path_of,
)

_AT: tuple[str | int, ...] = ("evaluation", "harness", "tasks")


@dataclass(frozen=True)
class Tasks:
    """The tasks that a space asks for, found but not loaded.

    Attributes:
        harness: What the space says.
        manager: lm-evaluation-harness' `TaskManager`.
    """

    harness: Harness
    manager: Any

    def load(self, asked: AskedTask) -> Any:
        """Load a task with its data; return what `TaskManager.load` does.

        Raises:
            HarnessError: It cannot be had.
        """
        try:
            loaded = self.manager.load([asked.name])
        except Exception as error:  # datasets, the hub and the task's own code raise many types
            first = (str(error).strip() or repr(error)).splitlines()[0][:160]
            raise HarnessError(
                f"task {asked.name} cannot be loaded{self._origin(asked.name)} ({first}); use "
                "task files of your own (include_path), or set HF_HOME to a cache that has its "
                "dataset",
                self._place(asked.name),
            ) from error
        for task in loaded["tasks"].values():
            _set_fewshot(task, asked)
        return loaded

    def check(self) -> None:
        """Check all that is known of the tasks without their data.

        Raises:
            HarnessError: One is unknown, or asks for what is not done here.
        """
        for asked in asked_tasks(self.harness):
            at = self._place(asked.name)
            if asked.name not in self.manager.task_index:
                raise HarnessError(self._unknown(asked.name), at)
            for entry in self._leaves(asked.name):
                if entry is not None and (why := _refusal(entry.cfg or {}, asked)) is not None:
                    raise HarnessError(f"task {entry.name} {why}", at)

    def is_complete(self) -> bool:
        """Return whether every task is there, and all that tags and groups hold."""
        own = None if self.harness.include_path is None else _own_folder(self.harness)
        for asked in asked_tasks(self.harness):
            leaves = list(self._leaves(asked.name))
            if None in leaves:
                return False
            is_own = own is not None and all(
                each.yaml_path is not None and each.yaml_path.is_relative_to(own) for each in leaves
            )
            if asked.name not in self.manager.all_subtasks and not is_own:
                return False  # others of the tag or group may be in other folders
        return True

    def _leaves(self, name: str) -> Iterator[Any]:
        """Yield the entries of a task, or of all tasks of a tag or group; None for an unknown."""
        entry = self.manager.task_index.get(name)
        if entry is None:
            yield None
        elif name in self.manager.all_tags:
            for each in sorted(entry.tags):
                yield from self._leaves(each)
        elif name in self.manager.all_groups:
            members = entry.cfg["task"]
            for each in members if isinstance(members, list) else [members]:
                inner = each if isinstance(each, str) else each.get("task", each.get("group"))
                if isinstance(inner, str):
                    yield from self._leaves(inner)
        else:
            yield entry

    def _place(self, name: str) -> tuple[str | int, ...]:
        """Return where the space asks for a task."""
        names = self.harness.tasks
        return (*_AT, names.index(name)) if name in names else _AT

    def _origin(self, name: str) -> str:
        """Name the datasets of a task."""
        entries = [entry for entry in self._leaves(name) if entry is not None]
        paths = {str(entry.cfg["dataset_path"]) for entry in entries if "dataset_path" in entry.cfg}
        return f" from the dataset {', '.join(sorted(paths))}" if paths else ""

    def _unknown(self, name: str) -> str:
        own = self.harness.include_path
        where = f"{own} and lm-evaluation-harness" if own else "lm-evaluation-harness"
        hint = did_you_mean(name, self.manager.all_tasks)
        return f"{where} {version('lm_eval')} know no task of this name{hint}"


def open_tasks(harness: Harness, tell: Callable[[str], None]) -> Tasks:
    """Find the tasks of a space and check them; no data is fetched.

    Of the 14,000 task files of lm-evaluation-harness, which take a minute to read, at first only
    those are read whose folder has the name that a task's begins with.

    Args:
        harness: What the space says.
        tell: Is told in a line what takes long.

    Raises:
        HarnessError: lm-evaluation-harness is not installed, or a task is unknown or asks for what
            is not done here.
    """
    if find_spec("lm_eval") is None:
        raise HarnessError(
            "needs lm-evaluation-harness: pip install -e '.[eval]' in lagsearch's folder",
            ("evaluation", "harness"),
        )
    own = [] if harness.include_path is None else [str(_own_folder(harness))]
    with sealed():
        import lm_eval.tasks

        root = Path(lm_eval.tasks.__file__).parent
        folders = {each.name: str(each) for each in root.iterdir() if each.is_dir()}
        likely = sorted({asked.name.split("_")[0] for asked in asked_tasks(harness)})
        paths = [*(folders[name] for name in likely if name in folders), *own]
        tasks = Tasks(
            harness, lm_eval.tasks.TaskManager(include_path=paths, include_defaults=False)
        )
        is_complete = tasks.is_complete()
    if not is_complete:
        tell("harness: reading all task files of lm-evaluation-harness")
        with sealed():
            tasks = Tasks(harness, lm_eval.tasks.TaskManager(include_path=own))
    tasks.check()
    return tasks


def own_files(harness: Harness) -> str | None:
    """Return a hash of the space's own task files, None where it has none.

    Raises:
        HarnessError: There is no such folder.
    """
    if harness.include_path is None:
        return None
    folder = _own_folder(harness)
    files = [
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    return digest([[str(path.relative_to(folder)), file_digest(path)] for path in sorted(files)])


def _own_folder(harness: Harness) -> Path:
    folder = path_of(harness.include_path or "")
    if not folder.is_dir():
        message = f"there is no such folder (relative paths start at {Path.cwd().name}/)"
        raise HarnessError(message, ("evaluation", "harness", "include_path"))
    return folder


def _refusal(config: dict[str, Any], asked: AskedTask) -> str | None:
    """Say why a task is not evaluated here, if it is not."""
    if config.get("unsafe_code"):
        return "runs code that the model writes, which is not done here"
    if config.get("process_results") is None:
        for metric in config.get("metric_list") or ():
            if _is_remote(metric):
                return f"has the metric {metric['metric']}: code from the hub, which is not run"
    return _fewshot_refusal(config.get("num_fewshot"), asked)


def _is_remote(metric: dict[str, Any]) -> bool:
    """Return whether a metric is neither lm-evaluation-harness' own nor a function of the task."""
    import lm_eval.api.metrics  # noqa: F401 (its import fills the registry)
    from lm_eval.api.registry import metric_registry

    name = str(metric.get("metric"))
    is_function = os.sep in name
    return bool(metric.get("hf_evaluate")) or (not is_function and name not in metric_registry)


def _fewshot_refusal(fixed: int | None, asked: AskedTask) -> str | None:
    return "is made for num_fewshot 0 alone" if fixed == 0 and asked.num_fewshot else None


def _set_fewshot(task: Any, asked: AskedTask) -> None:
    """Set the examples in a prompt, and have them drawn as lm-evaluation-harness does.

    Raises:
        HarnessError: The task is made for prompts without any.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED

    fixed = task.get_config("num_fewshot")
    if (why := _fewshot_refusal(fixed, asked)) is not None:
        raise HarnessError(f"task {task.task_name} {why}", _AT)
    wanted = (fixed or 0) if asked.num_fewshot is None else asked.num_fewshot
    task.set_config(key="num_fewshot", value=wanted)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
