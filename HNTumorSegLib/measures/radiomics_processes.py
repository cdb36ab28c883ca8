"""Extraction in processes beside this one: pyradiomics' C code holds Python's lock, so threads would not help.

Each process runs ``python -m HNTumorSegLib.measures.radiomics_processes``, reads pickled jobs from stdin and writes
pickled results to stdout. Not ``multiprocessing``: its start would run the user's script or 3D Slicer a second time.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.measures.radiomics_crop import cropped, remaining_parameters, resamples
from HNTumorSegLib.measures.radiomics_extraction import Extraction, extract, nothing_defined
from HNTumorSegLib.measures.radiomics_mask import MaskOnImage
from HNTumorSegLib.worker_process import child_environment, processor_count, python_executable

VOXELS_WORTH_A_PROCESS = 150_000
"""A process takes 2 to 4 s to start; this many voxels in lesions take about 7 s (45 microseconds each)."""


@dataclass(frozen=True)
class Job:
    """One lesion on one image.

    Attributes:
        image: the whole image; it is cropped when the job's turn comes, so that few crops are in memory.
        lesion: its voxels on the image's grid.
        parameters: pyradiomics parameter dictionary.
        name: of the lesion and the image, for messages.
    """

    image: sitk.Image
    lesion: MaskOnImage
    parameters: dict[str, Any]
    name: str

    @property
    def voxels(self) -> int:
        """About how many voxels pyradiomics will see in the lesion."""
        count = int(np.count_nonzero(self.lesion.mask))
        setting = self.parameters.get("setting") or {}
        if not resamples(setting):
            return count
        spacing = np.array(self.image.GetSpacing())
        asked = np.array(setting["resampledPixelSpacing"], float)
        return int(count * np.prod(spacing / np.where(asked == 0, spacing, asked)))

    def run(self) -> Extraction:
        """The features, computed in this process."""
        return extract(*self.prepared())

    def prepared(self) -> tuple[sitk.Image, sitk.Image, dict[str, Any], str]:
        """What :func:`extract` takes."""
        image, mask = cropped(self.image, self.lesion, self.parameters)
        return image, mask, remaining_parameters(self.parameters), self.name


def processes_for(jobs: Sequence[Job]) -> int:
    """How many processes are worth starting here; 1 means none beside this one."""
    return max(1, min(processor_count(), len(jobs), sum(job.voxels for job in jobs) // VOXELS_WORTH_A_PROCESS))


def extract_all(jobs: Sequence[Job], processes: int) -> Iterator[tuple[int, Extraction]]:
    """The jobs' numbers and results as they come; the largest lesions first where there are several processes.

    Leaving the iterator early ends the processes. A process that dies (no memory) costs its lesion only, by name.
    """
    if processes <= 1:
        for number, job in enumerate(jobs):
            yield number, job.run()
        return
    crew = _Crew()
    pool = ThreadPoolExecutor(processes)
    try:
        order = sorted(range(len(jobs)), key=lambda number: -jobs[number].voxels)
        waiting = {pool.submit(crew.run, jobs[number]): number for number in order}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        crew.stop()
        pool.shutdown(wait=True, cancel_futures=True)


class _Crew:
    """One process a thread, started when the thread has its first job."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen] = []
        self._stopped = False

    def run(self, job: Job) -> Extraction:
        process = getattr(self._local, "process", None) or self._start()
        prepared = job.prepared()
        try:
            pickle.dump(prepared, process.stdin)
            process.stdin.flush()
            kind, result = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError, ValueError) as error:
            process.kill()
            code = process.wait()
            self._local.process = None
            if self._stopped:
                return Extraction()
            return nothing_defined(
                job.parameters,
                f"{job.name}: the process that measured it ended (exit code {code}, {type(error).__name__}); most "
                "likely the memory did not suffice.",
            )
        if kind == "error":
            raise RuntimeError(f"{job.name}: the extraction failed by a defect of HNTumorSeg's:\n{result}")
        return result

    def _start(self) -> subprocess.Popen:
        with self._lock:
            process = subprocess.Popen(
                [str(python_executable()), "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(1),
            )
            self._processes.append(process)
            if self._stopped:
                process.kill()
        self._local.process = process
        return process

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was still to be written has no reader any more
                    stream.close()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer jobs until the input ends."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    while True:
        try:
            prepared = pickle.load(requests)
        except EOFError:
            return
        try:
            answer = ("result", extract(*prepared))
        except Exception:
            answer = ("error", traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()


def main() -> None:
    """Keep stdout for the answers; whatever a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from HNTumorSegLib.measures import radiomics_processes

    # By its proper name: classes pickled by the parent belong to that module, not to __main__.
    radiomics_processes.serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
