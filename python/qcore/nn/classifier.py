"""A chain and a small head that reads digits off its last state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from qcore._ops import _check


class DigitClassifier(nn.Module):
    """A chain, then flatten and linear layers with ReLU between them: images to class scores (logits).

    Three linear layers, as the residual-networks paper has; their widths 784-128-64-10 are our default, the
    paper does not state its own. Softmax is left to the loss (``torch.nn.functional.cross_entropy``).

    Args:
        chain: module from (B, channels, H, W) to the same shape, e.g. :class:`qcore.nn.PDEChain`.
        hidden: widths of the hidden linear layers; () leaves a single linear layer.
        image_size: H = W of the images, or the pair (H, W).
        channels: channels of the images.
        classes: number of classes.
        device, dtype: of the linear layers' parameters (the chain keeps its own).

    Shapes: (B, channels, H, W) to (B, classes).

    Raises:
        TypeError: ``chain`` is no module, or a size no int.
        ValueError: a size is smaller than 1, or an input of ``forward`` has another shape than (B, channels,
        H, W).
    """

    def __init__(
        self,
        chain: nn.Module,
        hidden: Sequence[int] = (128, 64),
        *,
        image_size: int | tuple[int, int] = 28,
        channels: int = 1,
        classes: int = 10,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(chain, nn.Module):
            raise _check.wrong_type("chain", "a torch.nn.Module", type(chain).__name__)
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        sizes = [("image_size", height), ("image_size", width), ("channels", channels), ("classes", classes)]
        for name, size in sizes + [("hidden", size) for size in hidden]:
            _check.require_count(name, size)
            if size == 0:
                raise _check.wrong_value(name, "at least 1", size)
        self.input_shape = (channels, height, width)
        self.chain = chain
        widths = [channels * height * width, *hidden, classes]
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out, device=device, dtype=dtype), nn.ReLU()]
        self.head = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, classes) of images (B, channels, H, W)."""
        _check.require_tensor("x", x)
        if x.shape[1:] != self.input_shape:
            raise _check.wrong_value(
                "x", f"shape (B, {', '.join(map(str, self.input_shape))})", _check.shape(x)
            )
        scores: Tensor = self.head(self.chain(x))
        return scores
