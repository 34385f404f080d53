"""A running average of the weights, which scores better than the last step's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The exponential moving average of a network's trainable weights; it warms up over the first steps.

    Args:
        network: Whose weights are followed.
        decay: Share of the average that each step keeps, in the long run.

    Source: Polyak and Juditsky 1992; Tarvainen and Valpola 2017, "Mean teachers", section 3.1; torch's `swa_utils`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
        self.averages = {name: value.detach().clone() for name, value in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.averages.values()), [value.detach() for value in self.parameters.values()], step)

    @contextmanager
    def in_place(self) -> Iterator[dict[str, Tensor]]:
        """Let the network have the averages for a while; yields its own weights, which it gets back at the end."""
        own = {name: value.detach().clone() for name, value in self.parameters.items()}
        self._put(self.averages)
        try:
            yield own
        finally:
            self._put(own)

    def restore(self, own: dict[str, Tensor]) -> None:
        """Take the network's present weights for the averages, and give it `own` to train on."""
        self.averages = {name: value.detach().clone() for name, value in self.parameters.items()}
        self._put(own)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, value in self.parameters.items():
            value.copy_(values[name])
