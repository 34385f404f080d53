"""One folder a modality: from its input to `ModalityFeatures`. Tabular, sound and priors join the same way."""
