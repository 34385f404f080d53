"""What an ablation changes: one config -> the same run with one modality, with each fusion, with shuffled reports."""

from collections.abc import Sequence
from dataclasses import replace

from medfuse.config.load import check
from medfuse.config.schema import TrainConfig
from medfuse.domain.labels import LabelSet
from medfuse.errors import ConfigError
from medfuse.fusion import FUSIONS

IMAGE_ONLY, TEXT_ONLY, SHUFFLED = "image-only", "text-only", "shuffled-reports"


def variants_of(config: TrainConfig, names: Sequence[str] | None = None) -> dict[str, TrainConfig]:
    """The full model under the name of its fusion, then the variants in the order of their names.

    Another fusion keeps the options of the config's that it takes too. A model of text alone delineates nothing.

    Args:
        config: The full model: image, text and a fusion.
        names: `image-only`, `text-only`, `shuffled-reports` or names of fusions; None for all of them.

    Raises:
        ConfigError: The config lacks a modality, or a name is unknown or has no meaning for it.
    """
    if config.model.image is None or config.model.text is None:
        raise ConfigError("an ablation starts from a model with model.image and model.text; the config lacks one")
    full = config.model.fusion.name
    text_only = [TEXT_ONLY] if config.labels.findings else []
    known = [full, IMAGE_ONLY, *text_only, *(name for name in FUSIONS.names() if name != full), SHUFFLED]
    chosen = known if names is None else [full, *names]
    for name in chosen:
        if name not in known:
            raise ConfigError(f"--variants names {name!r}; expected some of {', '.join(known)}")
    return {name: _variant(config, name) for name in dict.fromkeys(chosen)}


def _variant(config: TrainConfig, name: str) -> TrainConfig:
    if name == config.model.fusion.name:
        return config
    if name == IMAGE_ONLY:
        return config.model_copy(update={"model": config.model.model_copy(update={"text": None})})
    if name == TEXT_ONLY:
        labels = LabelSet(findings=config.labels.findings)
        model = config.model.model_copy(update={"image": None})
        return config.model_copy(update={"model": model, "labels": labels})
    if name == SHUFFLED:
        return config.model_copy(update={"data": replace(config.data, shuffle_reports=True)})
    takes = FUSIONS.options(name)
    options = {key: value for key, value in config.model.fusion.options.items() if key in takes}
    tree = config.model_dump(mode="json")
    tree["model"]["fusion"] = {"name": name, **options}
    return check(tree, TrainConfig, where=f"variant {name}")
