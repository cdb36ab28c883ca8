"""The two U-Nets of nnU-Net v2 (Isensee et al., Nature Methods 2021; residual encoder: Isensee et al., MICCAI 2024).

Written anew from their description, with the names of nnU-Net's weights, so that its trained weights fit once what it
stores twice is left out. The residual blocks are those of ResNet-D: average pooling before the shortcut's 1x1x1
convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class _Rule:
    """What all units share."""

    def __init__(self, bias: bool, eps: float, affine: bool, slope: float):
        self.bias, self.eps, self.affine, self.slope = bias, eps, affine, slope

    def shortcut(self) -> _Rule:
        """The convolution of a shortcut never has a bias."""
        return _Rule(False, self.eps, self.affine, self.slope)


class _Unit(nn.Module):
    """Convolution, instance norm, and leaky ReLU unless ``active`` is False; (N, a, Z, Y, X) to (N, b, ...)."""

    def __init__(self, a: int, b: int, kernel: Sequence[int], stride: Sequence[int], rule: _Rule, active: bool = True):
        super().__init__()
        self.conv = nn.Conv3d(a, b, tuple(kernel), tuple(stride), [(k - 1) // 2 for k in kernel], bias=rule.bias)
        self.norm = nn.InstanceNorm3d(b, eps=rule.eps, affine=rule.affine)
        self.activation = nn.LeakyReLU(rule.slope, inplace=True) if active else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self.conv(x)))


class _Stack(nn.Module):
    """Units one after another, the first with the stride."""

    def __init__(self, count: int, a: int, b: int, kernel: Sequence[int], stride: Sequence[int], rule: _Rule):
        super().__init__()
        ones = [1] * len(kernel)
        self.convs = nn.Sequential(
            *(_Unit(a if i == 0 else b, b, kernel, stride if i == 0 else ones, rule) for i in range(count))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(x)


class _Residual(nn.Module):
    """Two units with a shortcut; leaky ReLU after the sum."""

    def __init__(self, a: int, b: int, kernel: Sequence[int], stride: Sequence[int], rule: _Rule):
        super().__init__()
        ones = [1] * len(kernel)
        self.conv1 = _Unit(a, b, kernel, stride, rule)
        self.conv2 = _Unit(b, b, kernel, ones, rule, active=False)
        skip: list[nn.Module] = []
        if any(s != 1 for s in stride):
            skip.append(nn.AvgPool3d(tuple(stride), tuple(stride)))
        if a != b:
            skip.append(_Unit(a, b, ones, ones, rule.shortcut(), active=False))
        self.skip = nn.Sequential(*skip)
        self.activation = nn.LeakyReLU(rule.slope, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.conv2(self.conv1(x)) + self.skip(x))


class _ResidualStage(nn.Module):
    def __init__(self, count: int, a: int, b: int, kernel: Sequence[int], stride: Sequence[int], rule: _Rule):
        super().__init__()
        ones = [1] * len(kernel)
        self.blocks = nn.Sequential(
            *(_Residual(a if i == 0 else b, b, kernel, stride if i == 0 else ones, rule) for i in range(count))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


class _Encoder(nn.Module):
    def __init__(self, in_channels: int, plan: NnUNet, rule: _Rule):
        super().__init__()
        a, stages = in_channels, []
        if plan.residual:
            self.stem = _Stack(1, a, plan.features[0], plan.kernel_sizes[0], [1, 1, 1], rule)
            a = plan.features[0]
        for b, kernel, stride, count in zip(plan.features, plan.kernel_sizes, plan.strides, plan.blocks, strict=True):
            if plan.residual:
                stages.append(_ResidualStage(count, a, b, kernel, stride, rule))
            else:
                stages.append(nn.Sequential(_Stack(count, a, b, kernel, stride, rule)))
            a = b
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        if hasattr(self, "stem"):
            x = self.stem(x)
        answers = []
        for stage in self.stages:
            x = stage(x)
            answers.append(x)
        return answers


class _Decoder(nn.Module):
    def __init__(self, out_channels: int, plan: NnUNet, rule: _Rule):
        super().__init__()
        self.transpconvs, self.stages = nn.ModuleList(), nn.ModuleList()
        for level in range(len(plan.features) - 1, 0, -1):
            below, here, stride = plan.features[level], plan.features[level - 1], tuple(plan.strides[level])
            self.transpconvs.append(nn.ConvTranspose3d(below, here, stride, stride, bias=rule.bias))
            count = plan.decoder_convs[len(self.stages)]
            self.stages.append(_Stack(count, 2 * here, here, plan.kernel_sizes[level - 1], [1, 1, 1], rule))
        self.head = nn.Conv3d(plan.features[0], out_channels, 1)

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        x = skips[-1]
        for up, stage, skip in zip(self.transpconvs, self.stages, skips[-2::-1], strict=True):
            x = stage(torch.cat((up(x), skip), 1))
        return self.head(x)


class NnUNet(nn.Module):
    """Input (N, in_channels, Z, Y, X), sides multiples of the product of ``strides``; logits of the same grid.

    Args:
        in_channels, out_channels: images in, classes out.
        residual: residual encoder (``ResidualEncoderUNet``) instead of the plain one (``PlainConvUNet``).
        features, kernel_sizes, strides, blocks: a stage each, finest first; ``blocks`` are units or residual blocks.
        decoder_convs: units of each decoder stage, coarsest first.
        bias: of the convolutions.
        eps, affine: of instance norm.
        slope: of leaky ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        residual: bool,
        features: Sequence[int],
        kernel_sizes: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        blocks: Sequence[int],
        decoder_convs: Sequence[int],
        bias: bool = True,
        eps: float = 1e-5,
        affine: bool = True,
        slope: float = 0.01,
    ):
        super().__init__()
        if len({len(features), len(kernel_sizes), len(strides), len(blocks), len(decoder_convs) + 1}) != 1:
            raise ValueError("features, kernel_sizes, strides, blocks and decoder_convs are of different lengths")
        self.residual, self.features, self.kernel_sizes = residual, list(features), list(kernel_sizes)
        self.strides, self.blocks, self.decoder_convs = list(strides), list(blocks), list(decoder_convs)
        rule = _Rule(bias, eps, affine, slope)
        self.encoder = _Encoder(in_channels, self, rule)
        self.decoder = _Decoder(out_channels, self, rule)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, out_channels, Z, Y, X)."""
        return self.decoder(self.encoder(x))
