"""Made studies with known truth, written as real DICOM: for the demo, the tests and CI.

Families: `chest_ct` (one CT series; segments `lung`, `nodule`) and `brain_mr` (t1, t1ce, flair, t2; segments
`lesion_core`, `edema`), in each of which one finding is in the image only, one in the text only, and one takes both;
and `named_nodule`, in which the text alone says which of two nodules is to be delineated.
Nothing here is of clinical meaning, and no patient is real.
"""

from medfuse.phantom.truth import PhantomTruth, StudyTruth
from medfuse.phantom.write import FAMILIES, write_phantom

__all__ = ["FAMILIES", "PhantomTruth", "StudyTruth", "write_phantom"]
