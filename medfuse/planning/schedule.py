"""How many epochs, from a time budget and the time of a step, or a stated default."""

from dataclasses import dataclass
from math import ceil

DEFAULT_STEPS = {"cpu": 4_000, "cuda": 25_000}
"""Steps of a run where nobody gives a time budget; nnU-Net takes 250,000."""
MOST_STEPS = 250_000
MOST_EPOCHS = 1000
"""nnU-Net's."""
FEWEST_EPOCHS = 30
"""Epochs below which a smaller network learns more in the same time."""
RESERVE = 0.1
"""Share of the time budget that is kept for validation and saving."""
VALIDATIONS = 10
WARMUP_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long a run is.

    Args:
        epochs: Passes over the training studies.
        steps_an_epoch: Steps of each.
        why: Where the number comes from.
    """

    epochs: int
    steps_an_epoch: int
    why: str

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.epochs * self.steps_an_epoch

    @property
    def warmup(self) -> int:
        """Steps of the warm-up."""
        return max(1, min(100, round(WARMUP_SHARE * self.steps)))

    @property
    def validate_every(self) -> int:
        """Epochs between validations."""
        return max(1, self.epochs // VALIDATIONS)


def default_schedule(kind: str, steps_an_epoch: int) -> Schedule:
    """The stated default for a device."""
    epochs = _within(ceil(DEFAULT_STEPS[kind] / steps_an_epoch), steps_an_epoch)
    why = f"no time budget was given (--time): about {DEFAULT_STEPS[kind]} steps, the default for a {_NAMES[kind]}"
    return Schedule(epochs=epochs, steps_an_epoch=steps_an_epoch, why=why)


def timed_schedule(minutes: float, reading_s: float, step_s: float, steps_an_epoch: int) -> Schedule:
    """As many epochs as a time budget holds.

    Args:
        minutes: The budget.
        reading_s: What reading the studies takes of it.
        step_s: Seconds of a step.
        steps_an_epoch: Steps of an epoch.
    """
    left = max(0.0, minutes * 60 * (1 - RESERVE) - reading_s)
    epochs = _within(int(left / (step_s * steps_an_epoch)), steps_an_epoch)
    why = (
        f"{minutes:g} min (--time), less {reading_s:.0f} s of reading studies and {100 * RESERVE:.0f} % for "
        f"validation, at {step_s:.2g} s a step as timed on this machine"
    )
    return Schedule(epochs=epochs, steps_an_epoch=steps_an_epoch, why=why)


_NAMES = {"cpu": "CPU", "cuda": "GPU"}


def _within(epochs: int, steps_an_epoch: int) -> int:
    return max(1, min(epochs, MOST_EPOCHS, MOST_STEPS // steps_an_epoch))
