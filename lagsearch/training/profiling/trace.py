"""A torch profiler trace of a few steps, as Perfetto and chrome://tracing read it."""

import gzip
import os
import shutil
import tempfile
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from lagsearch.storage.files import replacing


class Trace:
    """One trace: started once, and written when it is finished."""

    def __init__(self, path: Path, device: str) -> None:
        """Name its file.

        Args:
            path: A `.json.gz` file.
            device: `cpu` or `cuda`.
        """
        self._path, self._device = path, device
        self._profiler: profile | None = None

    @property
    def is_on(self) -> bool:
        """Whether it has begun and is not finished."""
        return self._profiler is not None

    def start(self) -> None:
        """Begin."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes lines to stderr
        activities = [ProfilerActivity.CPU]
        # Nsight Systems has the GPU's one tracing interface for itself
        if self._device == "cuda" and "NSYS_PROFILING_SESSION_ID" not in os.environ:
            activities.append(ProfilerActivity.CUDA)
        self._profiler = profile(activities=activities)
        self._profiler.start()

    def finish(self) -> None:
        """End and write the file, whole or not at all."""
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return
        profiler.stop()
        with (
            tempfile.TemporaryDirectory(prefix="lagsearch-") as scratch,
            replacing(self._path) as temporary,
        ):
            plain = Path(scratch) / "trace.json"
            profiler.export_chrome_trace(str(plain))
            with plain.open("rb") as text, gzip.open(temporary, "wb") as packed:
                shutil.copyfileobj(text, packed)
