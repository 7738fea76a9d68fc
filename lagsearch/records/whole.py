"""The folder of a run of several stages: a run folder for each stage, and what is the whole's."""

from pathlib import Path
from typing import Any

from lagsearch.errors import RunFolderError
from lagsearch.records.folder import RunFolder, differences
from lagsearch.records.stage_result import RECORD, read_handed
from lagsearch.space import SpaceFile, StagedFile, dump_yaml, load_any, with_said


class WholeFolder(RunFolder):
    """The files of one run of several stages: `<course>/stage-<number>/` and the whole's own."""

    def file(self) -> StagedFile:
        """Read the space of this run.

        Raises:
            RunFolderError: This is none of several stages.
        """
        if not is_whole(self.path):
            raise RunFolderError(f"{self.path}: not the folder of a run with stages")
        return _with_stages(load_any(self.space_file))

    def stages(self) -> list[Path]:
        """Return the folders of finished stages that had several candidates."""
        found = []
        for path in sorted(self.path.glob(f"*/stage-*/{RECORD}")):
            result = read_handed(path.parent)
            is_own = result is not None and self.path / result.folder == path.parent
            if result is not None and is_own and result.n_candidates > 1:
                found.append(path.parent)
        return found

    def agree(self, file: StagedFile) -> StagedFile:
        """Return the space to run here: seeds and an oracle that were added before stay.

        Raises:
            RunFolderError: The folder belongs to another space; the message names what differs.
        """
        if not self.space_file.is_file():
            self.check_free()
            return file
        recorded = self.file()
        flags = {}
        if recorded.seeds[: len(file.seeds)] == file.seeds and recorded.seeds != file.seeds:
            flags["seeds of the run folder"] = f"search.seeds={list(recorded.seeds)}"
        if _has_oracle(recorded):
            flags["oracle of the run folder"] = "search.oracle=true"
        elif _has_oracle(file) and any(self.path.glob("*/stage-*/stage.json")):
            message = "stages were finished without an oracle, whose other candidates are gone"
            raise RunFolderError(f"{self.path}: {message}: give --oracle another --out")
        if flags:
            file = _with_stages(with_said(file, flags))
        found = differences(recorded.listed(), file.listed())
        added = recorded.seeds == file.seeds[: len(recorded.seeds)]
        self.refuse([each for each in found if not (added and each[0] == "search.seeds")])
        return file

    def start(self, file: StagedFile, devices: dict[str, Any], inputs: dict[str, Any]) -> None:
        """Write what is known before training; a folder that was begun keeps its record.

        Args:
            file: What is run.
            devices: What it runs on, for the record.
            inputs: What else decides the losses: they may not change on the way.

        Raises:
            RunFolderError: An input is not as it was when the run began.
        """
        self._begin(dump_yaml(file.listed()), devices, inputs, file.seeds)


def _with_stages(file: SpaceFile | StagedFile) -> StagedFile:
    assert isinstance(file, StagedFile), file.path
    return file


def _has_oracle(file: StagedFile) -> bool:
    return any(each.space.search.oracle for each in file.stages)


def is_whole(path: Path) -> bool:
    """Return whether a folder is that of a run of several stages."""
    file = path / "space.yaml"
    return file.is_file() and any(
        line.startswith(b"stages:") for line in file.read_bytes().splitlines()
    )
