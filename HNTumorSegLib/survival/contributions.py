"""What each covariate adds to a patient's risk: Shapley values against the training patients' mean."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

MOST_ORDERS = 120


def shapley(predict: Callable[[NDArray], NDArray], z: NDArray, groups: list[list[int]], seed: int = 0) -> NDArray:
    """(patients, groups): contributions that add up to ``predict(z) - predict(0)`` for every patient.

    Each group of columns is put from 0 (the training mean) to the patient's value, in all orders of the groups, or
    in 120 orders by chance, half of them the others' reverse; its mean effect is its contribution (Shapley 1953;
    Strumbelj and Kononenko 2010). For a linear predictor this is coefficient times value, whatever the order.
    """
    n = len(groups)
    if factorial(n) <= MOST_ORDERS:
        orders = list(permutations(range(n)))
    else:
        rng = np.random.default_rng(seed)
        half = [tuple(rng.permutation(n)) for _ in range(MOST_ORDERS // 2)]
        orders = [*half, *(order[::-1] for order in half)]
    found = np.zeros((len(z), n))
    for order in orders:
        current = np.zeros_like(z)
        before = predict(current)
        for group in order:
            current[:, groups[group]] = z[:, groups[group]]
            after = predict(current)
            found[:, group] += after - before
            before = after
    return found / len(orders)
