"""CLAIM, the Checklist for Artificial Intelligence in Medical Imaging, as far as a run of medfuse supports it.

Source: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 2024; 6(4):e240300. The numbers are those of that update; the topics are paraphrases of our own.
"""

from medfuse.reporting import facts, measured_facts
from medfuse.reporting.checklist import Checklist, Item

_TITLE, _INTRODUCTION, _DESIGN, _DATA = "Title and abstract", "Introduction", "Methods: design", "Methods: data"
_REFERENCE, _PARTITIONS, _MODEL = "Methods: reference standard", "Methods: partitions", "Methods: model"
_TRAINING, _EVALUATION = "Methods: training", "Methods: evaluation"
_RESULTS, _DISCUSSION, _OTHER = "Results", "Discussion", "Other information"

CLAIM = Checklist(
    name="CLAIM 2024",
    reference="CLAIM: 2024 Update (doi:10.1148/ryai.240300)",
    items=(
        Item(
            number="1",
            part=_TITLE,
            topic="A study of AI, and of which kind",
            facts=(facts.technology,),
            person="the title",
        ),
        Item(number="2", part=_TITLE, topic="Structured abstract", person="the abstract"),
        Item(
            number="3",
            part=_INTRODUCTION,
            topic="Background, and the role that the model is meant for",
            facts=(facts.predicted,),
            person="the scientific and clinical background, and the intended use",
        ),
        Item(number="4", part=_INTRODUCTION, topic="Aims and hypotheses", person="aims, objectives, hypotheses"),
        Item(
            number="5",
            part=_DESIGN,
            topic="Prospective or retrospective",
            person="whether the data were collected before or for the study",
        ),
        Item(number="6", part=_DESIGN, topic="Goal of the study", person="e.g. a new model, a feasibility study"),
        Item(
            number="7",
            part=_DATA,
            topic="Data sources",
            facts=(facts.modalities,),
            person="institutions, public data sets with their versions, dates, how the data match the intended use",
        ),
        Item(
            number="8",
            part=_DATA,
            topic="Who was included and excluded",
            person="the criteria, where and when they were applied",
        ),
        Item(
            number="9",
            part=_DATA,
            topic="Preprocessing",
            facts=(facts.inputs, facts.preprocessing, facts.leakage),
            person="what was done to the data before medfuse read them",
        ),
        Item(
            number="10",
            part=_DATA,
            topic="Selection of parts of the data",
            facts=(facts.inputs,),
            person="parts of images or studies that were cut out or left out beforehand, or that none were",
        ),
        Item(number="11", part=_DATA, topic="De-identification", person="method, tool, and what was kept"),
        Item(
            number="12",
            part=_DATA,
            topic="Missing data",
            facts=(facts.missing_inputs, measured_facts.missing_labels),
            person="why data are missing, and what that may bias",
        ),
        Item(
            number="13",
            part=_DATA,
            topic="How the images were acquired",
            facts=(facts.modalities,),
            person="scanners, sequences or protocols, contrast, slice thickness",
        ),
        Item(
            number="14",
            part=_REFERENCE,
            topic="How the reference standard was made",
            person="the definition of each finding and segment, in detail enough to repeat it",
        ),
        Item(number="15", part=_REFERENCE, topic="Why this reference standard", person="the reasons, and its limits"),
        Item(
            number="16",
            part=_REFERENCE,
            topic="Who annotated",
            person="number, qualification and instruction of the annotators; tools",
        ),
        Item(
            number="17",
            part=_REFERENCE,
            topic="Annotation of the test set",
            person="whether it differs from that of the training set, and how",
        ),
        Item(
            number="18",
            part=_REFERENCE,
            topic="Agreement of annotators",
            person="agreement within and between them, and how differences were settled",
        ),
        Item(
            number="19",
            part=_PARTITIONS,
            topic="How studies were assigned to partitions",
            facts=(facts.partitions,),
        ),
        Item(
            number="20",
            part=_PARTITIONS,
            topic="Level at which partitions are disjoint",
            facts=(facts.disjoint,),
        ),
        Item(
            number="21",
            part=_PARTITIONS,
            topic="Size of the test set as intended",
            facts=(measured_facts.test_size,),
            person="how the size was determined beforehand, or that it was not",
        ),
        Item(
            number="22",
            part=_MODEL,
            topic="The model in detail",
            facts=(facts.technology, facts.architecture, facts.inputs, facts.predicted, facts.identity),
        ),
        Item(
            number="23",
            part=_MODEL,
            topic="Software",
            facts=(facts.software,),
            person="versions of Python, torch and other libraries, and the hardware",
        ),
        Item(number="24", part=_MODEL, topic="Initial weights", facts=(facts.initialisation,)),
        Item(
            number="25",
            part=_TRAINING,
            topic="Training",
            facts=(facts.training, facts.augmentation, facts.imbalance),
            person="how the values were arrived at: which were tried, on which data",
        ),
        Item(number="26", part=_TRAINING, topic="Choice of the final model", facts=(facts.selection,)),
        Item(number="27", part=_TRAINING, topic="Ensembles", facts=(facts.ensembling,)),
        Item(
            number="28",
            part=_EVALUATION,
            topic="Measures of performance",
            facts=(measured_facts.measures, facts.output_form),
            person="why these measures fit the clinical question",
        ),
        Item(
            number="29",
            part=_EVALUATION,
            topic="Uncertainty and significance",
            facts=(measured_facts.uncertainty, facts.conformal),
            person="tests against other models or readers, if any (medfuse compare)",
        ),
        Item(
            number="30",
            part=_EVALUATION,
            topic="Robustness and sensitivity",
            facts=(measured_facts.robustness, measured_facts.sites, facts.familiarity),
            person="analyses of robustness beyond these, or that none were made",
        ),
        Item(
            number="31",
            part=_EVALUATION,
            topic="Explanations of the model's answers",
            person="methods and how they were checked (medfuse explain), or that none were used",
        ),
        Item(number="32", part=_EVALUATION, topic="Test on internal data", facts=(measured_facts.internal,)),
        Item(
            number="33",
            part=_EVALUATION,
            topic="Test on external data",
            facts=(measured_facts.sites,),
            person="the external data, or that there were none",
        ),
        Item(number="34", part=_EVALUATION, topic="Registration of a trial", person="registry and number, if any"),
        Item(
            number="35",
            part=_RESULTS,
            topic="Patients and studies, included and excluded",
            facts=(facts.partitions, measured_facts.test_size, measured_facts.rejections),
            person="the flow before the manifest was made: who was eligible, who was left out and why",
        ),
        Item(
            number="36",
            part=_RESULTS,
            topic="Who the patients of each partition are",
            facts=(facts.label_counts, measured_facts.group_sizes),
            person="age, sex and clinical characteristics by partition",
        ),
        Item(
            number="37",
            part=_RESULTS,
            topic="Performance with its uncertainty",
            facts=(measured_facts.results, measured_facts.calibrated, measured_facts.groups),
            person="comparison with readers or other models, if any",
        ),
        Item(
            number="38",
            part=_RESULTS,
            topic="Diagnostic accuracy and its precision",
            facts=(measured_facts.calls,),
        ),
        Item(
            number="39",
            part=_RESULTS,
            topic="Failures",
            facts=(measured_facts.failures, measured_facts.unfamiliar),
            person="what the wrong answers have in common",
        ),
        Item(number="40", part=_DISCUSSION, topic="Limitations", person="bias, uncertainty, and to whom this extends"),
        Item(number="41", part=_DISCUSSION, topic="What follows for practice", person="implications, intended use"),
        Item(number="42", part=_OTHER, topic="Protocol", person="where the full protocol is found"),
        Item(
            number="43",
            part=_OTHER,
            topic="Where software, model and data are found",
            facts=(facts.software, facts.identity),
            person="where each is available, under what terms, or why not",
        ),
        Item(number="44", part=_OTHER, topic="Funding", person="sources, and the role of those who funded"),
    ),
)
