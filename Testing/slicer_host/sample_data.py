"""The module ``SampleData``: keeps what modules register for Slicer's Sample Data module. Not imitated: downloading."""

# ruff: noqa: N802, N803  the names are Slicer's

from __future__ import annotations

import sys
import types
from typing import Any

import slicer


class SampleDataLogic:
    """Slicer's SampleDataLogic, as far as registering goes."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: str | None = None,
        loadFiles: bool | None = None,
        loadFileProperties: dict | None = None,
        checksums: Any = None,
    ) -> None:
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        sources.append({name: value for name, value in locals().items() if name not in ("sources", "category")})


def install() -> None:
    """Make ``import SampleData`` work."""
    slicer.modules.sampleDataSources = {}
    module = types.ModuleType("SampleData", __doc__)
    module.SampleDataLogic = SampleDataLogic
    sys.modules["SampleData"] = module
