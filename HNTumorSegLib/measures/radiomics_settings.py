"""What radiomics are computed with: a file that ships, and the hash that tells two tables apart.

``radiomics_settings.json`` holds one pyradiomics parameter dictionary for the PET and one for the CT, with the reason
for each choice. ``RadiomicsFeatureExtractor(settings.parameters("pet"))`` is the plain pyradiomics call that gives the
same numbers.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.measures.radiomics_mask import MASK_RULE
from HNTumorSegLib.measures.radiomics_package import make_extractor, require_radiomics

IMAGES = ("pet", "ct")
SETTINGS_FILE = Path(__file__).with_name("radiomics_settings.json")
_OURS = {
    "geometryTolerance": "the lesion always lies on the image's grid",
    "correctMask": "the lesion always lies on the image's grid",
    "label": "lesions are chosen from the lesion set",
    "label_channel": "lesions are chosen from the lesion set",
}
"""pyradiomics settings that may not be given, and why."""


@dataclass(frozen=True)
class RadiomicsSettings:
    """pyradiomics parameters for each image.

    Attributes:
        images: ``pet`` and ``ct`` (or one of them) to a pyradiomics parameter dictionary with the keys ``setting``,
            ``imageType`` and ``featureClass``.
        name: for people; not part of the hash.
    """

    images: dict[str, dict[str, Any]]
    name: str = ""

    @classmethod
    def default(cls) -> RadiomicsSettings:
        """The settings that ship."""
        return cls.load(SETTINGS_FILE)

    @classmethod
    def load(cls, path: Path | str) -> RadiomicsSettings:
        """Settings from a JSON file like the one that ships.

        Raises:
            InputError: it cannot be read, or names neither ``pet`` nor ``ct``, or has something else.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"The radiomics settings '{path}' cannot be read: {error}.") from error
        if not isinstance(data, dict) or not any(image in data for image in IMAGES):
            raise InputError(
                f"The radiomics settings '{path}' have no entry for 'pet' or 'ct'. Begin with a copy of "
                f"'{SETTINGS_FILE}'."
            )
        unknown = sorted(set(data) - {*IMAGES, "name", "reasons"})
        if unknown:
            raise InputError(
                f"The radiomics settings '{path}' have the unknown entry '{unknown[0]}'; there are pet, ct, name and "
                "reasons."
            )
        images = {image: data[image] for image in IMAGES if image in data}
        wrong = [image for image, parameters in images.items() if not isinstance(parameters, dict)]
        if wrong:
            raise InputError(f"The entry '{wrong[0]}' of the radiomics settings '{path}' is not a dictionary.")
        return cls(images, str(data.get("name", path.stem)))

    def parameters(self, image: str) -> dict[str, Any]:
        """A copy of the pyradiomics parameter dictionary for ``pet`` or ``ct``.

        Raises:
            InputError: there is none for that image.
        """
        if image not in self.images:
            raise InputError(f"The radiomics settings '{self.name}' have no entry for the image '{image}'.")
        return copy.deepcopy(self.images[image])

    def check(self, image: str) -> None:
        """Have pyradiomics check the parameters for one image.

        Raises:
            InputError: a parameter is unknown, has a wrong value, or is not the settings' to give; it is named.
            MissingPackageError: pyradiomics is not installed.
        """
        parameters = self.parameters(image)
        given = parameters.get("setting") or {}
        for key in sorted(set(given) & set(_OURS)):
            raise InputError(f"The radiomics settings for '{image}' give '{key}', but {_OURS[key]}. Take it out.")
        if "voxelSetting" in parameters:
            raise InputError(f"The radiomics settings for '{image}' ask for maps; only lesions are measured.")
        try:
            make_extractor(parameters)
        except InputError as error:
            raise InputError(f"Settings for '{image}': {error}") from error

    def hash(self, image: str) -> str:
        """64 hex digits that are the same only for equal parameters, pyradiomics version and rule for the mask.

        The SHA-256 of a JSON text with sorted keys and all numbers as floats, so that 2 and 2.0 are one.
        """
        content = {
            "image": image,
            "mask": MASK_RULE,
            "parameters": _canonical(self.parameters(image)),
            "pyradiomics": require_radiomics().__version__,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """The same value with every whole number as a float."""
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
