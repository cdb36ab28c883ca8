"""From a table of numbers and words to columns of numbers: dummy coding, remembered from the training patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoder:
    """One column for a number, one a category for words, less the most frequent one (the reference).

    Attributes:
        numbers: names of numeric covariates.
        categories: of each covariate of words, its categories, the reference first.
        columns: the covariates in the table's order.
    """

    columns: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    @classmethod
    def learn(cls, frame: pd.DataFrame) -> Encoder:
        """From the training patients' covariates."""
        categories = {}
        for name in frame.columns:
            if not is_number(frame[name]):
                counts = frame[name].dropna().astype(str).value_counts()
                ordered = sorted(counts.index, key=lambda word: (-counts[word], word))
                categories[name] = tuple(ordered)
        return cls(tuple(frame.columns), categories)

    @property
    def names(self) -> list[str]:
        """Names of the encoded columns: ``age``, ``site=Larynx``."""
        return [column for name in self.columns for column in self._columns_of(name)]

    @property
    def source(self) -> list[str]:
        """The covariate behind each encoded column."""
        return [name for name in self.columns for _ in self._columns_of(name)]

    def _columns_of(self, name: str) -> list[str]:
        if name not in self.categories:
            return [name]
        return [f"{name}={word}" for word in self.categories[name][1:]]

    def transform(self, frame: pd.DataFrame) -> NDArray:
        """(patients, encoded columns); NaN where the value is missing or a category that training did not have."""
        parts = []
        for name in self.columns:
            if name not in self.categories:
                parts.append(frame[name].to_numpy(float, na_value=np.nan)[:, None])
                continue
            words = frame[name]
            known = words.isin(self.categories[name]).to_numpy()
            dummies = np.column_stack(
                [(words == word).to_numpy(float) for word in self.categories[name][1:]] or [np.zeros((len(words), 0))]
            )
            dummies[~known] = np.nan
            parts.append(dummies)
        return np.column_stack(parts) if parts else np.zeros((len(frame), 0))

    def unknown(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Categories that training did not have, by covariate."""
        found = {}
        for name, words in self.categories.items():
            new = sorted(set(frame[name].dropna().astype(str)) - set(words))
            if new:
                found[name] = new
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"columns": list(self.columns), "categories": {k: list(v) for k, v in self.categories.items()}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Encoder:
        """Back from :meth:`to_dict`."""
        return cls(tuple(data["columns"]), {k: tuple(v) for k, v in data["categories"].items()})


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers (or true and false), not words."""
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
