"""Features of pictures at any point of a network: what would leave the owner if that point got out.

picture   the input itself, a layer like any other: the attacker must be able to copy it
NAME      what the module NAME of the network gives (torch's named_modules)
scores    the class vector, the network's output
label     the class alone, one-hot
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from twinveil.errors import BadInput
from twinveil.network.fixed_point import PIXEL_FRACTION_BITS
from twinveil.network.plan import Shape
from twinveil.pictures.masks import Mask

PICTURE, SCORES, LABEL = "picture", "scores", "label"

_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)

_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)
"""What a module raises at pictures that it is not made for."""


class Extractor:
    """A network whose every named layer can be read. Raises BadInput if it cannot take such pictures.

    mask: pictures are covered with it before the network gets them; `picture` is then the covered one.
    """

    def __init__(self, network: nn.Module, image_shape: Shape, mask: Mask | None = None) -> None:
        self._visible = None if mask is None else torch.from_numpy(mask.visible).float()
        self.network = network.eval()
        self.image_shape = image_shape
        self._modules = dict(network.named_modules())
        try:
            found = self._run(torch.zeros(2, *image_shape), self._candidates())
        except _REFUSALS as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise BadInput(f"the network cannot take pictures of shape {image_shape}: {reason}") from None
        self.shapes = {name: tuple(tensor.shape[1:]) for name, tensor in found.items()}
        self.classes = found[SCORES].shape[1]

    @property
    def layers(self) -> tuple[str, ...]:
        """Every name that can be asked for, in the order in which a picture travels."""
        return tuple(self.shapes)

    def check(self, layers: Sequence[str]) -> None:
        """Raises BadInput, listing the layers that there are, if one is unknown or none is named."""
        unknown = [name for name in layers if name not in self.shapes]
        if unknown or not layers:
            problem = f"there is no layer {', '.join(unknown)}" if unknown else "no layer was named"
            raise BadInput(f"{problem}; the layers are: {', '.join(self.shapes)}")

    def default_layers(self) -> tuple[str, ...]:
        """The picture, every child of the network, scores and label. What only reshapes is left out."""
        children = [
            name for name, module in self.network.named_children() if not isinstance(module, nn.Flatten)
        ]
        inner = [name for name in self.layers if name in children and name != self._last()]
        return (PICTURE, *inner, SCORES, LABEL)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, layer: str) -> Tensor:
        """Features (n, *shapes[layer]) of pixels (n, channels, height, width) from 0 to 255."""
        if self._visible is not None:
            pixels = pixels * self._visible
        return self._run(pixels / (1 << PIXEL_FRACTION_BITS), [layer])[layer]

    def _last(self) -> str:
        """The module whose output is the class vector: `scores` stands for it."""
        return next((name for name in reversed(self._candidates()) if name in self.shapes), "")

    def _candidates(self) -> list[str]:
        return [name for name, module in self._modules.items() if name and not isinstance(module, _NOTHING)]

    @torch.no_grad()
    def _run(self, scaled: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The wanted tensors in the order in which they arise; picture, scores and label are always there."""
        found = {PICTURE: scaled}

        def keep(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and len(output) == len(scaled):
                found[name] = output.clone()  # a layer after it may work in place

        hooks = [
            self._modules[name].register_forward_hook(partial(keep, name))
            for name in layers
            if name in self._modules
        ]
        try:
            scores = self.network(scaled.clone())
        finally:
            for hook in hooks:
                hook.remove()
        if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(scaled):
            what = tuple(scores.shape) if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            raise BadInput(f"the network gives {what} for {len(scaled)} pictures, not class vectors")
        found[SCORES] = scores
        found[LABEL] = nn.functional.one_hot(scores.argmax(dim=1), scores.shape[1]).float()
        return found
