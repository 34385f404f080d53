"""Answers to whole validation studies, so that one larger than the network's input is seen as scoring sees it."""

from collections.abc import Callable, Iterator, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from medfuse.data.blocks import fits
from medfuse.data.loaders import CaseSamples
from medfuse.data.samples import Case, sample_of
from medfuse.heads.targets import mean_outputs, shown_in
from medfuse.inference.sliding_window import Blend, batched, merge_findings, window_starts
from medfuse.model import FusionNetwork
from medfuse.tensors import Batch, ModelOutput, Sample

SMALLEST = 1e-7
"""Blended probabilities are floored here before their logarithm, and kept so far from 1 before their logit."""

Collate = Callable[[Sequence[Sample]], Batch]


def answers(
    network: FusionNetwork, samples: CaseSamples, collate: Collate, batch_size: int, accelerator: Accelerator
) -> Iterator[tuple[ModelOutput, Batch]]:
    """What the network says of each study, with its truth: those that fit in batches, then the larger ones one by one.

    A larger one is answered as in scoring: overlapping windows, their segmentations blended, of each finding the
    highest logit, and of each target the mean over the windows that show something. Its class scores are the logarithm
    of the blended probabilities (their logit where segments overlap), on the study's own grid.

    Args:
        network: In evaluation mode.
        samples: The studies, not varied.
        collate: Makes a batch of samples.
        batch_size: Samples a batch.
        accelerator: The device and its precision.
    """
    whole = [index for index, case in enumerate(samples.cases) if fits(case, samples.size)]
    for indices in batched(whole, batch_size):
        batch = collate([samples[index] for index in indices]).to(accelerator.device)
        with accelerator.autocast():
            output = network(batch)
        yield output, batch
    for case in samples.cases:
        if not fits(case, samples.size):
            yield _in_windows(network, case, samples, collate, batch_size, accelerator)


def _in_windows(
    network: FusionNetwork,
    case: Case,
    samples: CaseSamples,
    collate: Collate,
    batch_size: int,
    accelerator: Accelerator,
) -> tuple[ModelOutput, Batch]:
    i, j, k = case.image.shape[1:]
    shape = (i, j, k)
    blend: Blend | None = None
    logits: list[Tensor] = []
    targets: list[dict[str, Tensor]] = []
    shown: list[float] = []
    for starts in batched(window_starts(shape, samples.size), batch_size):
        windows = [sample_of(case, samples.size, samples.label_set, start=start) for start in starts]
        with accelerator.autocast():
            output = network(collate(windows).to(accelerator.device))
        logits += list(output.finding_logits.float().cpu())
        targets += [
            {name: said[row].cpu() for name, said in output.target_outputs.items()} for row in range(len(starts))
        ]
        shown += shown_in(output, samples.label_set.overlapping).tolist()
        if output.segment_logits is not None:
            blend = blend or Blend.over(output.segment_logits.shape[1], shape)
            scores = output.segment_logits.float()
            shares = scores.sigmoid() if samples.label_set.overlapping else scores.softmax(dim=1)
            for start, share in zip(starts, shares.cpu(), strict=True):
                blend.add(share, start)
    findings, _ = merge_findings(logits)
    batch = collate([sample_of(case, shape, samples.label_set)]).to(accelerator.device)
    scores = None
    if blend is not None:
        means = torch.from_numpy(blend.mean())[None].to(accelerator.device)
        scores = means.logit(SMALLEST) if samples.label_set.overlapping else means.clamp(min=SMALLEST).log()
    words = batch.text.mask.shape[1]
    attention = torch.zeros((1, len(findings), words), device=accelerator.device)
    answer = ModelOutput(
        finding_logits=findings[None].to(accelerator.device),
        segment_logits=scores,
        text_attention=attention,
        target_outputs={name: said[None].to(accelerator.device) for name, said in mean_outputs(targets, shown).items()},
    )
    return answer, batch
