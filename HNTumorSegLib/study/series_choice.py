"""Which of several DICOM series is meant."""

from __future__ import annotations

from collections.abc import Sequence

from HNTumorSegLib.errors import DicomError
from HNTumorSegLib.study.dicom_series import DicomSeries, describe_all

_MODALITY = {"PT": "PET", "CT": "CT"}


def by_name(listing: Sequence[DicomSeries], wanted: str, modality: str) -> DicomSeries:
    """The series whose UID or number (from 1, in the folder's listing) is ``wanted``; it must be of ``modality``.

    Raises:
        DicomError: there is no such series, or it is of another modality.
    """
    for one in listing:
        if wanted in (one.uid, str(one.number)):
            if one.modality != modality:
                raise DicomError(
                    f"Series {wanted} is not a {_MODALITY[modality]}; the folder holds: {describe_all(listing)}."
                )
            return one
    raise DicomError(f"There is no series '{wanted}' here; the folder holds: {describe_all(listing)}.")


def choose_pet(listing: Sequence[DicomSeries], where: str, wanted: str | None = None) -> tuple[DicomSeries, list[str]]:
    """The PET series of a listing and remarks on the choice.

    With several, the only attenuation-corrected one is taken; otherwise the user must choose.

    Raises:
        DicomError: no PET, or several.
    """
    if wanted:
        return by_name(listing, wanted, "PT"), []
    pets = [one for one in listing if one.modality == "PT"]
    if not pets:
        raise DicomError(
            f"There is no PET (modality PT) in '{where}'; it holds: {describe_all(listing)}. "
            "Give the folder of the PET series."
        )
    if len(pets) == 1:
        return pets[0], []
    corrected = [one for one in pets if one.is_attenuation_corrected]
    if len(corrected) == 1:
        left_out = describe_all(one for one in pets if one is not corrected[0])
        return corrected[0], [
            f"Of {len(pets)} PET series the only attenuation-corrected one was taken "
            f"({corrected[0].describe()}); left out: {left_out}."
        ]
    raise DicomError(
        f"There are {len(pets)} PET series in '{where}': {describe_all(pets)}. Choose one with --pet-series NUMBER "
        f"(or its Series Instance UID), or write it behind the folder: '{where}#{pets[0].number}'."
    )


def choose_ct(
    listing: Sequence[DicomSeries], where: str, frame_of_reference: str, wanted: str | None = None
) -> DicomSeries:
    """The CT series of a folder that the user named for the CT.

    With several, the only one in the PET's frame of reference is taken.

    Raises:
        DicomError: no CT, or several.
    """
    if wanted:
        return by_name(listing, wanted, "CT")
    every = [one for one in listing if one.modality == "CT"]
    if not every:
        raise DicomError(f"There is no CT in '{where}'; it holds: {describe_all(listing)}.")
    series = [one for one in every if not one.is_localizer] or every
    matching = [one for one in series if _shares_frame(one, frame_of_reference)]
    if len(series) == 1:
        return series[0]
    if len(matching) == 1:
        return matching[0]
    raise DicomError(
        f"There are {len(series)} CT series in '{where}': {describe_all(series)}. Choose one with --ct-series NUMBER "
        f"(or its Series Instance UID), or write it behind the folder: '{where}#{series[0].number}'."
    )


def find_companion_ct(listing: Sequence[DicomSeries], pet: DicomSeries) -> tuple[DicomSeries | None, list[str]]:
    """The CT that lies beside the PET when the user named none, and what to tell the user about it."""
    every = [one for one in listing if one.modality == "CT" and not one.is_localizer]
    series = [one for one in every if _shares_frame(one, pet.text("FrameOfReferenceUID"))]
    if len(series) == 1:
        return series[0], [
            f"The CT in the same folder and frame of reference is used ({series[0].describe()}); --ct none "
            "leaves it out."
        ]
    if every:
        return None, [
            f"The folder also holds CT that is not used, since {'several' if series else 'none'} share the "
            "PET's frame "
            f"of reference: {describe_all(every)}. Choose one with --ct FOLDER and --ct-series NUMBER."
        ]
    return None, []


def _shares_frame(series: DicomSeries, frame_of_reference: str) -> bool:
    return bool(frame_of_reference) and series.text("FrameOfReferenceUID") == frame_of_reference
