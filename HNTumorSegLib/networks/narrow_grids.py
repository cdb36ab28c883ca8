"""Where a convolution is wider than the grid it runs on: there bf16 cannot be trusted on processors."""

from __future__ import annotations

import copy

import torch


def narrow_grids(
    network: torch.nn.Module, in_channels: int, patch_zyx: tuple[int, int, int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(grid, kernel) of every convolution of stride 1 whose kernel is wider than its grid along some axis.

    There oneDNN's bf16 gives convolution weights a wrong gradient, often of the order 1e35, without a word (found with
    torch 2.13 on processors). Nothing is computed: the network's shapes are followed on torch's ``meta`` device.
    """
    shadow = copy.deepcopy(network).to("meta")
    found = []

    def look(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sides = tuple(inputs[0].shape[2:])
        if module.stride[0] == 1 and any(side < k for side, k in zip(sides, module.kernel_size, strict=True)):
            found.append((sides, tuple(module.kernel_size)))

    for module in shadow.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
            module.register_forward_pre_hook(look)
    with torch.no_grad():
        shadow(torch.empty(1, in_channels, *patch_zyx, device="meta"))
    return found
