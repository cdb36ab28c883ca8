"""Where a network runs, and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from HNTumorSegLib.errors import ModelError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ComputeDevice:
    """A torch device with the precision it is best used in.

    Attributes:
        name: ``cpu`` or ``cuda`` (or ``cuda:1``).
        bf16: convolutions run in bfloat16 under autocast; softmax and sums stay 32-bit float.
        description: for reports, for instance ``cpu (2 threads, bf16)``.
    """

    name: str
    bf16: bool
    description: str

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context to run the network in."""
        import torch

        kind = self.name.split(":")[0]
        return torch.autocast(kind, dtype=torch.bfloat16) if self.bf16 else contextlib.nullcontext()


def choose_device(name: str = "auto") -> ComputeDevice:
    """The device to run on: ``auto`` takes a CUDA GPU when torch sees one.

    Raises :class:`ModelError` when ``name`` is unknown or CUDA is asked for and torch sees none.
    """
    import torch

    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise ModelError(f"There is no device '{name}'. Choose one of: {', '.join(DEVICES)}.")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return cpu_device()
    if not torch.cuda.is_available():
        build = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built for the CPU only"
        raise ModelError(
            f"Device '{name}' was asked for, but torch {torch.__version__} {build} and sees no CUDA GPU. Use "
            "--device cpu, or install a torch build and a driver that fit the GPU."
        )
    index = name.partition(":")[2] or "0"
    if not index.isdecimal() or int(index) >= torch.cuda.device_count():
        raise ModelError(f"There is no device '{name}': torch sees {torch.cuda.device_count()} CUDA GPU(s).")
    properties = torch.cuda.get_device_properties(int(index))
    bf16 = properties.major >= 8  # bf16 matrix units came with Ampere; before it is emulated and slow
    return ComputeDevice(f"cuda:{index}", bf16, f"cuda ({properties.name}, {'bf16' if bf16 else 'fp32'})")


def cpu_device() -> ComputeDevice:
    """The processor; bf16 where it computes in it natively."""
    import torch

    bf16 = has_native_bf16()
    threads = torch.get_num_threads()
    words = f"{threads} thread{'s' if threads != 1 else ''}, {'bf16' if bf16 else 'fp32'}"
    return ComputeDevice("cpu", bf16, f"cpu ({words})")


def has_native_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bf16 in hardware (AVX512-BF16 or AMX); False where this cannot be read.

    Elsewhere oneDNN would emulate bf16 and be slower than 32-bit float.
    """
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    for line in text.splitlines():
        if line.startswith("flags"):
            flags = line.split()
            return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


GPU_MEMORY_WORDS = ("CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
MAIN_MEMORY_WORDS = ("DefaultCPUAllocator", "bad_alloc", "Failed to allocate memory", "Unable to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a GPU ran out of memory."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    # CUDA's own libraries raise a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in GPU_MEMORY_WORDS)


def is_main_memory_full(error: BaseException) -> bool:
    """Whether ``error`` says that the computer's main memory did not suffice (Python, numpy, torch or ITK)."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MAIN_MEMORY_WORDS)


def release_gpu_memory(device: ComputeDevice) -> None:
    """Give back what torch cached on the GPU; nothing on a CPU."""
    import torch

    if device.name.startswith("cuda"):
        torch.cuda.empty_cache()


def keep_freed_memory(top_pad_mb: int = 64) -> bool:
    """Tell glibc to keep freed blocks for reuse: for worker and command line processes, before the first network.

    By default glibc gives every activation of a network back to the system and asks for it again, which costs up to
    half of the time on a CPU. Never call this inside a host application such as 3D Slicer. Returns whether it was set.
    """
    if platform.system() != "Linux":
        return False
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # from malloc.h
    try:
        libc = ctypes.CDLL("libc.so.6")
        settings = ((m_mmap_max, 0), (m_trim_threshold, 2**31 - 1), (m_top_pad, top_pad_mb * 2**20))
        return all(libc.mallopt(option, value) == 1 for option, value in settings)
    except (OSError, AttributeError):
        log.debug("mallopt is not there; memory stays as the system has it")
        return False


def return_freed_memory() -> None:
    """Give what the network used back to the system before large images are made; nothing where there is no glibc."""
    if platform.system() == "Linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def move_networks(networks: list[torch.nn.Module], device: ComputeDevice) -> list[torch.nn.Module]:
    """The same networks on ``device``, in evaluation mode, without gradients."""
    return [network.to(device.name).eval().requires_grad_(False) for network in networks]
