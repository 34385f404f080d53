"""What a model would say of variants of one study: another text, another image, an input left out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from medfuse.data.cache import floor_of
from medfuse.data.collate import collate
from medfuse.data.samples import Case, sample_of
from medfuse.inference.member import Member
from medfuse.inference.sliding_window import Index, batched, window_starts
from medfuse.tensors import Batch, ModalityFeatures

IMAGE, TEXT = "image", "text"

SMALLEST = 1e-7
"""Mean probabilities are held this far from 0 and 1 before their log-odds are taken."""

_AT_ONCE = 4

Logits = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """One member reading one study.

    Args:
        member: The member.
        starts: The windows that it reads.
    """

    member: Member
    starts: tuple[Index, ...]

    @classmethod
    def whole(cls, member: Member, case: Case) -> "Reading":
        """A reading of every window."""
        i, j, k = case.image.shape[1:]
        return cls(member=member, starts=tuple(window_starts((i, j, k), member.checkpoint.recipe.size)))

    def decisive(self, case: Case) -> tuple["Reading", tuple[int, ...]]:
        """A reading of the windows that decide alone, and which of them decides each finding: its logit is highest."""
        highest = self.window_logits([case])[0].argmax(axis=0)
        chosen = sorted({int(window) for window in highest})
        short = Reading(member=self.member, starts=tuple(self.starts[window] for window in chosen))
        return short, tuple(chosen.index(int(window)) for window in highest)

    @torch.inference_mode()
    def window_logits(self, variants: Sequence[Case]) -> Logits:
        """Logits before calibration of each variant and window, shape `(n, W, F)`.

        The features of an image or a text that all variants share are computed once.
        """
        network = self.member.network
        same_text = all(case.text == variants[0].text for case in variants)
        same_image = all(case.image is variants[0].image for case in variants)
        said = []
        for start in self.starts:
            first = self.batch(variants[:1], start)
            shared: dict[str, ModalityFeatures] = {}
            if same_text and network.text_encoder is not None:
                shared[TEXT] = network.text_encoder(first.text)
            if same_image and network.image_encoder is not None:
                shared[IMAGE] = network.image_encoder(first.image, first.channel_present)
            for group in batched(variants, _AT_ONCE):
                encoded = {name: repeated(features, len(group)) for name, features in shared.items()}
                said.append(network(self.batch(group, start), encoded).finding_logits.double().cpu().numpy())
        return np.concatenate(said).reshape(len(self.starts), len(variants), -1).swapaxes(0, 1)

    def batch(self, variants: Sequence[Case], start: Index) -> Batch:
        """A window of each variant, as the network takes it, on its device."""
        checkpoint, encoder = self.member.checkpoint, self.member.network.text_encoder
        samples = [sample_of(case, checkpoint.recipe.size, checkpoint.label_set, start=start) for case in variants]
        return collate(samples, encoder.tokenize if encoder else None).to(self.member.device)


def log_odds(readings: Sequence[Reading], variants: Sequence[Case]) -> Logits:
    """Calibrated log-odds of the mean over members, of each variant; shape `(n, F)`.

    As in scoring, the logit of a study is the highest of its windows, and members are averaged as probabilities.
    """
    from scipy.special import expit, logit

    members = []
    for reading in readings:
        highest = reading.window_logits(variants).max(axis=1)
        checkpoint = reading.member.checkpoint
        scaling = [checkpoint.calibration.get(name) for name in checkpoint.label_set.findings]
        members.append(
            np.array(
                [
                    [raw if one is None else one.scaled(raw) for one, raw in zip(scaling, row, strict=True)]
                    for row in highest
                ]
            ).reshape(highest.shape)
        )
    if len(members) == 1:
        return members[0]
    return np.asarray(logit(np.clip(expit(np.stack(members)).mean(axis=0), SMALLEST, 1 - SMALLEST)))


def repeated(features: ModalityFeatures, rows: int) -> ModalityFeatures:
    """The features of one study, as often as a batch has rows."""
    return ModalityFeatures(
        tokens=features.tokens.expand(rows, *features.tokens.shape[1:]),
        mask=features.mask.expand(rows, -1),
        present=features.present.expand(rows),
        pyramid=tuple(level.expand(rows, *level.shape[1:]) for level in features.pyramid),
    )


def neutral_of(case: Case) -> Case:
    """The study with all voxels of a channel at its mean; beyond the grid stands what stood there."""
    mean = case.image.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    floor = case.floor if case.floor is not None else floor_of(case.image)
    return replace(case, image=np.broadcast_to(mean, case.image.shape), floor=floor)


def inputs_of(member: Member, case: Case) -> tuple[str, ...]:
    """The inputs of a model that a study has: its channels, and `text`."""
    channels = [rule.name for rule in member.checkpoint.recipe.channels]
    there = case.channel_present if member.network.image_encoder is not None else np.zeros(len(channels), dtype=bool)
    named = [name for name, is_there in zip(channels, there, strict=True) if is_there]
    return (*named, *([TEXT] if member.network.text_encoder is not None and case.text else []))


def with_only(case: Case, kept: Collection[str], channels: Sequence[str]) -> Case:
    """The study without every other input, as one that lacks them."""
    there = case.channel_present & np.array([name in kept for name in channels])
    text = case.text if TEXT in kept else ""
    if np.array_equal(there, case.channel_present):
        return replace(case, text=text)
    image = np.where(there[:, None, None, None], case.image, np.float32(0))
    return replace(case, text=text, image=image, channel_present=there, floor=None)
