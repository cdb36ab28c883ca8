"""Packages that Slicer does not bring: which are missing, and installing them on the user's click."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import os
import tempfile
from collections.abc import Callable

NEEDED = ("torch", "safetensors")
"""Without these nothing can be delineated."""
USEFUL = ("monai", "matplotlib")
"""Training, and the overview picture."""
KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "pydicom", "requests")
"""What Slicer brings: another version of these can keep Slicer from starting."""

CAUSES = (
    (("No space left", "Errno 28"), "the disk is full"),
    (("Temporary failure in name resolution", "Failed to establish a new connection", "getaddrinfo failed",
      "ProxyError", "Network is unreachable", "timed out"),
     "the package index cannot be reached; check the network and the proxy, or install from a folder of wheels"),
    (("SSLError", "CERTIFICATE_VERIFY_FAILED"), "the certificate of the package index was refused (a proxy?)"),
    (("Permission denied", "Errno 13", "Access is denied"), "Slicer's folder may not be written to"),
    (("ResolutionImpossible", "conflicting dependencies"),
     "a package asks for another version of one that Slicer brings, which is left as it is"),
    (("No matching distribution", "Could not find a version"), "there is no build for this system and Python"),
)  # fmt: skip


def missing(names: tuple[str, ...] = NEEDED) -> list[str]:
    """Those of the packages that are not installed; nothing is imported."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def cause_of(log: str) -> str:
    """Why pip failed, in words; its last line where no known cause is in the log."""
    for marks, words in CAUSES:
        if any(mark.lower() in log.lower() for mark in marks):
            return words
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "pip said nothing"


def constraints() -> str:
    """The installed versions of what Slicer brings, as pip's constraints."""
    lines = []
    for name in KEPT:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{name}=={importlib.metadata.version(name)}")
    return "\n".join(lines) + "\n"


def install(names: list[str], on_log: Callable[[str], None], pip_install: Callable | None = None) -> None:
    """Install packages with Slicer's pip, on the main thread.

    Args:
        names: package names.
        on_log: called with the log so far, whenever pip says something.
        pip_install: ``slicer.util.pip_install`` by default.

    Raises:
        RuntimeError: pip failed; the message names the cause.
    """
    if pip_install is None:
        import slicer

        pip_install = slicer.util.pip_install
    log = _Log(on_log)
    names = list(names)
    handle, path = tempfile.mkstemp(prefix="hntumorseg-constraints-", suffix=".txt", text=True)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(constraints())
        with contextlib.redirect_stdout(log):  # slicer.util prints what pip says
            if "torch" in names and _torch_by_extension():
                names.remove("torch")
            if names:
                pip_install([*names, "--constraint", path, "--upgrade-strategy", "only-if-needed"])
    except Exception as error:
        text = log.getvalue() + "\n" + str(getattr(error, "output", "") or "")
        raise RuntimeError(
            f"{', '.join(names)} could not be installed: {cause_of(text if text.strip() else str(error))}. Nothing "
            "that Slicer brings was changed."
        ) from error
    finally:
        os.unlink(path)
    importlib.invalidate_caches()


def _torch_by_extension() -> bool:
    """Let Slicer's PyTorch extension choose the build of torch that fits the GPU; False where it is not installed."""
    if importlib.util.find_spec("PyTorchUtils") is None:
        return False
    import PyTorchUtils

    return PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False) is not None


class _Log(io.StringIO):
    def __init__(self, on_log: Callable[[str], None]) -> None:
        super().__init__()
        self._on_log = on_log

    def write(self, text: str) -> int:
        written = super().write(text)
        self._on_log(self.getvalue())
        return written
