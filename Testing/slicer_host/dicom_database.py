"""``slicer.dicomDatabase``: the questions that scripted code asks about DICOM files, answered with pydicom."""

# ruff: noqa: N802, N815  the names are Slicer's

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom


class DicomDatabase:
    """Stands in for ctkDICOMDatabase, in memory. Not imitated: storing, patients and studies, thumbnails, signals."""

    isOpen = True

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, Any]] = {}  # SOP instance UID -> path, header

    def addFile(self, path: str | Path) -> None:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        self._files[str(header.SOPInstanceUID)] = (str(path), header)

    def clear(self) -> None:
        """Forget every file. Not in Slicer: for the host."""
        self._files.clear()

    def fileForInstance(self, uid: str) -> str:
        return self._files[uid][0] if uid in self._files else ""

    def instanceForFile(self, path: str) -> str:
        return next((uid for uid, (known, _header) in self._files.items() if known == str(path)), "")

    def instanceValue(self, uid: str, tag: str) -> str:
        """The value of a tag written ``"0010,0010"``, several joined by backslashes; empty when it is not there."""
        if uid not in self._files:
            return ""
        group, element = (int(part, 16) for part in tag.split(","))
        found = self._files[uid][1].get((group, element))
        if found is None or found.value is None:
            return ""
        return "\\".join(map(str, found.value)) if found.VM > 1 else str(found.value)

    def fileValue(self, path: str, tag: str) -> str:
        return self.instanceValue(self.instanceForFile(path), tag)

    def instancesForSeries(self, uid: str) -> list[str]:
        return [key for key, (_path, header) in self._files.items() if header.SeriesInstanceUID == uid]

    def filesForSeries(self, uid: str) -> list[str]:
        return [self._files[key][0] for key in self.instancesForSeries(uid)]
