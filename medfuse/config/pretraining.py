"""The schema of a pre-training run: the config of the training run that follows, and what its encoders learn from."""

from dataclasses import replace

from medfuse.config.load import config_sha256, resolved_yaml
from medfuse.config.schema import TrainConfig
from medfuse.pretraining import PretrainingOptions, PretrainingPlan


class PretrainConfig(TrainConfig):
    """One pre-training run.

    Args:
        pretraining: What the encoders learn from.
    """

    pretraining: PretrainingOptions = PretrainingOptions()

    def pretraining_plan(self) -> PretrainingPlan:
        """The run as the pre-training package takes it. Where the data lie is no part of its hash."""
        portable = self.portable()
        run = replace(
            self.plan(),
            config=portable.model_dump(mode="json"),
            config_sha256=config_sha256(portable),
            config_yaml=resolved_yaml(self),
        )
        return PretrainingPlan(run=run, pretraining=self.pretraining)
