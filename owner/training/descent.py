"""One step down the loss, for whoever trains."""

from __future__ import annotations

import torch
from torch import Tensor

from twinveil.errors import BadInput

LOWER, ANOTHER = "choose a lower learning rate", "choose another seed"


def descend(
    optimizer: torch.optim.Optimizer, loss: Tensor, *, longest: float | None = None, hint: str = LOWER
) -> float:
    """The loss that the step went down from. Raises BadInput, with a hint, if training diverges.

    longest: how long the gradient of all parameters together may be.
    """
    if not torch.isfinite(loss):
        raise BadInput(f"training diverged: {hint}")
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if longest is not None:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, longest)
    optimizer.step()
    return float(loss.detach())
