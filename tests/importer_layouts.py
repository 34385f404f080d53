"""Miniatures of the layouts that public data come in, each with what an importer has to find in it.

The volumes of NIfTI layouts are `VOXELS` on `GRID`. Each miniature holds junk files, two studies of one patient where
the layout knows such, and words in `PLANTED` that may be in files but in no message.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medfuse.domain import Affine, VolumeGeometry
from tests.unit.ingest.made_dicom import save, slices, uid, write_series

SHAPE = (6, 5, 4)
VOXELS = (np.arange(120).reshape(SHAPE) - 20).astype(np.int16)
GRID = VolumeGeometry(
    shape=SHAPE,
    affine=Affine.from_parts(
        origin_mm=(10.0, -20.0, 30.0), direction=[[-1, 0, 0], [0, 1, 0], [0, 0, 1]], spacing_mm=(0.5, 1.0, 2.5)
    ),
)
PLANTED = ("Zebulon", "Quixana", "1951-03-02", "MRN-5567")
NOTE = "Zebulon Quixana, MRN-5567, born 1951-03-02"
CT_VOXELS = np.arange(24 * 20 * 5, dtype=np.int16).reshape(24, 20, 5)
CT_SPACING = (0.5, 0.75, 2.0)
CT_ORIGIN = (-10.0, 20.0, 30.0)


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """A made data set and its truth, by accession number (the case's name, or that of DICOM).

    Args:
        make: Writes it into a folder.
        series: Study -> descriptions of its series in order.
        patients: Groups of studies that are of one patient each; the rest are of patients of their own.
        segments: Study -> names of the segments that its delineations show.
        reports: Study -> words that its report has, by section.
        labels: Study -> finding -> value.
        broken: A file that may break, and the study whose problem that is then ("" for none: counted or rejected).
        skipped: Reasons under which files are left out.
        is_nifti: Whether the volumes are `VOXELS` on `GRID`.
        quantity: What the voxels measure.
    """

    make: Callable[[Path], None]
    series: Mapping[str, Sequence[str]]
    patients: Sequence[Sequence[str]] = ()
    segments: Mapping[str, set[str]] = field(default_factory=dict)
    reports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    broken: tuple[str, str] = ("", "")
    skipped: set[str] = field(default_factory=set)
    is_nifti: bool = True
    quantity: str = "arbitrary"


def image(path: Path, voxels: Any = VOXELS, affine: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    matrix = GRID.affine.to_ras() if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(np.asarray(voxels), matrix), path)


def mask(path: Path, *numbers: int) -> None:
    """A label map on `GRID` with four voxels of each number."""
    labels = np.zeros(SHAPE, np.uint8)
    for n, number in enumerate(numbers):
        labels[n, :4, 1] = number
    image(path, labels)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def table(path: Path, rows: Iterable[Sequence[object]], *, delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def junk(*places: Path) -> None:
    """What archives made on macOS leave behind."""
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.with_name("._" + place.name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
        (place.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")


def decathlon(root: Path) -> None:
    four = np.stack([VOXELS, VOXELS + 1], axis=-1)
    for name in ("case_1", "case_2"):
        image(root / "imagesTr" / f"{name}.nii.gz", four)
        mask(root / "labelsTr" / f"{name}.nii.gz", 1, 2)
    image(root / "imagesTs" / "case_3.nii.gz", four)
    junk(root / "imagesTr" / "case_1.nii.gz")
    described = {
        "name": "Made",
        "description": NOTE,
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in ("case_1", "case_2")
        ],
        "test": ["./imagesTs/case_3.nii.gz"],
    }
    text(root / "dataset.json", json.dumps(described))


def nnunet(root: Path) -> None:
    for folder, case in (("Tr", "BraTS-GLI-00001-000"), ("Tr", "BraTS-GLI-00001-001"), ("Ts", "case_2")):
        for n in range(2):
            image(root / f"images{folder}" / f"{case}_{n:04d}.nii.gz")
        mask(root / f"labels{folder}" / f"{case}.nii.gz", 1, 3)
    junk(root / "imagesTr" / "case_1_0000.nii.gz")
    text(root / "imagesTr" / "notes.md", NOTE)
    described = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "enhancing tumor": [3], "ignore": 4},
        "regions_class_order": [1, 3],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    text(root / "dataset.json", json.dumps(described))


def brats(root: Path) -> None:
    home = root / "TrainingData"
    for grade, case in (("HGG", "Brats18_2013_2_1"), ("LGG", "Brats18_2013_3_1")):
        for part in ("flair", "t1", "t1ce", "t2"):
            image(home / grade / case / f"{case}_{part}.nii.gz")
        mask(home / grade / case / f"{case}_seg.nii.gz", 1, 2, 4)
    for point in ("000", "001"):
        case = f"BraTS-GLI-00005-{point}"
        for part in ("t1n", "t1c", "t2w", "t2f"):
            image(home / "new" / case / f"{case}-{part}.nii.gz")
        mask(home / "new" / case / f"{case}-seg.nii.gz", 3, 4)
    kept_name = home / "HGG" / "Brats18_2013_2_1"
    (kept_name / "Brats18_2013_2_1_seg.nii.gz").rename(kept_name / "W39_Segm.nii.gz")
    junk(kept_name / "Brats18_2013_2_1_t1.nii.gz")
    table(root / "survival_data.csv", [("Brats18ID", "Age", "Survival"), ("Brats18_2013_2_1", "61", "300")])


def bids(root: Path) -> None:
    text(root / "dataset_description.json", json.dumps({"Name": "Made", "BIDSVersion": "1.9.0", "Authors": [NOTE]}))
    table(
        root / "participants.tsv",
        [
            ("participant_id", "age", "sex", "name"),
            ("sub-01", "70", "1", "Zebulon Quixana"),
            ("sub-02", "n/a", "0", ""),
        ],
        delimiter="\t",
    )
    rows = [("participant_id", "session_id", "relapse", "score", "sex"), ("sub-01", "ses-b", "1", "17", "1")]
    table(
        root / "phenotype" / "course.tsv",
        [*rows, ("sub-01", "ses-a", "0", "12", "1"), ("02", "n/a", "n/a", "3", "0")],
        delimiter="\t",
    )
    text(root / "T1w.json", json.dumps({"Manufacturer": "Made", "EchoTime": 0.003}))
    for session in ("a", "b"):
        stem = f"sub-01_ses-{session}"
        folder = root / "sub-01" / f"ses-{session}" / "anat"
        image(folder / f"{stem}_ce-gadolinium_T1w.nii.gz")
        image(folder / f"{stem}_FLAIR.nii.gz")
        text(folder / f"{stem}_ce-gadolinium_T1w.json", json.dumps({"EchoTime": 0.0025, "PatientName": NOTE}))
        derived = root / "derivatives" / "lesions" / "sub-01" / f"ses-{session}" / "anat"
        mask(derived / f"{stem}_label-lesion_mask.nii.gz", 1)
        mask(derived / f"{stem}_space-MNI152_label-lesion_mask.nii.gz", 1)
    image(root / "sub-01" / "ses-a" / "func" / "sub-01_ses-a_task-rest_bold.nii.gz", np.stack([VOXELS] * 3, axis=-1))
    image(root / "sub-02" / "anat" / "sub-02_T2w.nii.gz")
    mask(root / "derivatives" / "tissue" / "sub-02" / "anat" / "sub-02_dseg.nii.gz", 1, 3)
    table(root / "derivatives" / "tissue" / "dseg.tsv", [("index", "name"), (1, "grey"), (3, "white")], delimiter="\t")
    junk(root / "sub-02" / "anat" / "sub-02_T2w.nii.gz")


CT_RATE_ROW = {
    "Manufacturer": "Made",
    "ConvolutionKernel": "B30f",
    "XYSpacing": "[0.5, 1.0]",
    "ZSpacing": "2.5",
    "RescaleSlope": "0.5",
    "RescaleIntercept": "-1024",
    "ImageOrientationPatient": "[-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]",
    "ImagePositionPatient": "[10.0, -20.0, 30.0]",
}


def ct_rate(root: Path) -> None:
    """Orientation `(-1, 0, 0), (0, 1, 0)` makes the k axis run down; `ct_rate_grid` is where the voxels are."""
    stored = ((VOXELS + 1024) * 2).astype(np.int16)
    volumes = ["train_1_a_1", "train_1_a_2", "train_1_b_1", "valid_1_a_1"]
    for volume in volumes:
        split, number, scan, _ = volume.split("_")
        folder = root / "dataset" / split / f"{split}_{number}" / f"{split}_{number}_{scan}"
        image(folder / f"{volume}.nii.gz", stored, np.eye(4))
    image(root / "dataset" / "valid_fixed" / "valid_1" / "valid_1_a" / "valid_1_a_1.nii.gz", VOXELS)
    junk(root / "dataset" / "train" / "train_1" / "train_1_a" / "train_1_a_1.nii.gz")
    names = [f"{volume}.nii.gz" for volume in volumes]
    header = ("VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN")
    report = ("Cough. FINDINGS: in the wrong column", "Not given.", f"An effusion, {NOTE}", "Effusion.")
    gone = ("train_9_a_1.nii.gz", "x", "x", "x", "x")
    for split, table_split, label_split in (("train", "train", "train"), ("valid", "validation", "valid")):
        own = [name for name in names if name.startswith(split)]
        home = root / "dataset"
        table(
            home / "radiology_text_reports" / f"{table_split}_reports.csv", [header, *((n, *report) for n in own), gone]
        )
        rows = [("VolumeName", *CT_RATE_ROW), *((n, *CT_RATE_ROW.values()) for n in own)]
        table(home / "metadata" / f"{table_split}_metadata.csv", rows)
        labelled = [(n, int(n != "train_1_a_2.nii.gz"), 0) for n in own]
        columns = ("VolumeName", "Cardiomegaly", "Lung nodule")
        table(
            home / "multi_abnormality_labels" / f"{label_split}_predicted_labels.csv",
            [columns, *labelled, (gone[0], 1, 1)],
        )


def totalsegmentator(root: Path) -> None:
    for subject in ("s0000", "s0001"):
        image(root / subject / "ct.nii.gz")
        for name in ("liver", "kidney_left"):
            mask(root / subject / "segmentations" / f"{name}.nii.gz", 1)
    mask(root / "s0001" / "segmentations" / "spleen.nii.gz")
    junk(root / "s0000" / "segmentations" / "liver.nii.gz")
    table(root / "meta.csv", [("image_id", "age", "split"), ("s0000", 50, "train")], delimiter=";")


def lidc_nodules(root: Path) -> None:
    names = ("LIDC-IDRI-0004_R_1", "LIDC-IDRI-0004_R_2", "LIDC-IDRI-0009_R_1")
    rows = [("nodule", "patient_id", "malignant", "malignancy", "internalstructure")]
    for n, name in enumerate(names):
        image(root / "image" / f"{name}.nii.gz")
        mask(root / "mask" / f"{name}.nii.gz", 1)
        text(root / "text" / f"{name}.txt", f"INDICATION: {NOTE}, smoker.\n\nDESCRIPTORS: solid.")
        rows.append((name, name[:14], str(n % 2), "4", "1"))
    junk(root / "image" / f"{names[0]}.nii.gz")
    table(root / "nodules.csv", rows)


def roi(z: float, points: Iterable[tuple[int, int]], *, inclusion: str = "TRUE", sop: str = "") -> str:
    edge = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    return (
        f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>{sop}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edge}</roi>"
    )


def ring(x0: int, y0: int, x1: int, y1: int) -> list[tuple[int, int]]:
    """The pixels of a rectangle's edge, in order."""
    top = [(x, y0) for x in range(x0, x1)]
    right = [(x1, y) for y in range(y0, y1)]
    bottom = [(x, y1) for x in range(x1, x0, -1)]
    left = [(x0, y) for y in range(y1, y0, -1)]
    return top + right + bottom + left


def nodule(rois: str, malignancy: int | None = None) -> str:
    rated = (
        ""
        if malignancy is None
        else f"<characteristics><subtlety>5</subtlety><malignancy>{malignancy}</malignancy></characteristics>"
    )
    return f"<unblindedReadNodule><noduleID>{NOTE}</noduleID>{rated}{rois}</unblindedReadNodule>"


def reading(series: str, *sessions: str, root: str = "LidcReadMessage") -> str:
    bodies = "".join(
        f"<readingSession><servicingRadiologistID>{NOTE}</servicingRadiologistID>{s}</readingSession>" for s in sessions
    )
    header = f"<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>"
    return f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns="http://www.nih.gov">{header}{bodies}</{root}>'


def ct_series(folder: Path, study: str, patient: str, **tags: Any) -> str:
    """A CT series of `CT_VOXELS`; gives its UID."""
    series = uid("series", study)
    write_series(
        folder,
        CT_VOXELS,
        origin=CT_ORIGIN,
        spacing=CT_SPACING,
        StudyInstanceUID=uid("study", study),
        SeriesInstanceUID=series,
        AccessionNumber=study,
        PatientID=patient,
        PatientName="Quixana^Zebulon",
        SeriesDescription="chest",
        **tags,
    )
    return series


def lidc(root: Path) -> None:
    first = root / "LIDC-IDRI-0001" / "study" / "series"
    series = ct_series(first, "first", "LIDC-IDRI-0001")
    square, apart = ring(4, 4, 12, 12), ring(15, 14, 19, 18)
    hole = roi(34.0, ring(6, 6, 9, 9), inclusion="FALSE")
    thick = "".join(roi(z, square) for z in (32.0, 34.0, 36.0))
    sessions = (
        nodule(thick + hole, 4) + nodule(roi(38.0, [(2, 2)])),
        nodule(thick + hole, 5) + nodule(roi(38.0, [(2, 3)])),
        nodule(roi(34.0, ring(5, 5, 13, 13)), 3) + nodule(roi(30.0, apart), 2),
        "<nonNodule><nonNoduleID>1</nonNoduleID><imageZposition>30.0</imageZposition>"
        "<locus><xCoord>1</xCoord><yCoord>1</yCoord></locus></nonNodule>",
    )
    text(first / "069.xml", reading(series, *sessions))
    second = ct_series(root / "LIDC-IDRI-0002" / "study" / "series", "second", "LIDC-IDRI-0002")
    text(root / "tcia-lidc-xml" / "157" / "158.xml", reading(second, "", "", "", ""))
    text(root / "tcia-lidc-xml" / "157" / "159.xml", reading("1.2.3.4", ""))
    ct_series(root / "LIDC-IDRI-0002" / "later" / "series", "third", "LIDC-IDRI-0002")
    film = slices(CT_VOXELS[:, :, :1], StudyInstanceUID=uid("film"), SeriesInstanceUID=uid("film", 1), Modality="DX")[0]
    film.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    film.PatientID, film.AccessionNumber = "LIDC-IDRI-0001", "film"
    save(film, root / "LIDC-IDRI-0001" / "film" / "dx" / "000000.dcm")
    text(root / "LIDC-IDRI-0001" / "film" / "dx" / "070.xml", reading("1.2.3", "", root="IdriReadMessage"))
    junk(first / "000000.dcm")


def idc(root: Path) -> None:
    for study, patient in (("first", "P-1"), ("second", "P-1"), ("third", "P-2")):
        place = root / "made_collection" / patient / uid("study", study)
        ct_series(place / f"CT_{uid('series', study)}", study, patient)
    empty = root / "made_collection" / "P-2" / uid("study", "third") / f"SEG_{uid('empty')}"
    empty.mkdir(parents=True)
    text(root / "made_collection" / "LICENSE", NOTE)
    junk(empty / "x.dcm")


_LIDC_LABELS = {
    "first": {"nodule": "PRESENT", "small_nodule": "PRESENT", "malignant_nodule": "PRESENT"},
    "second": {"nodule": "ABSENT", "small_nodule": "ABSENT", "malignant_nodule": "ABSENT"},
}
_BRATS = ("t1", "t1ce", "t2", "flair")
_CT_RATE_REPORT = {
    "INDICATION": "Cough. FINDINGS: in the wrong column",
    "FINDINGS": "An effusion",
    "IMPRESSION": "Effusion.",
}

MINIATURES = {
    "decathlon": Miniature(
        make=decathlon,
        series=dict.fromkeys(("case_1", "case_2", "case_3"), ("T2", "ADC")),
        segments={key: {"Anterior", "Posterior"} for key in ("case_1", "case_2")},
        broken=("imagesTr/case_2.nii.gz", "case_2"),
        skipped={"HIDDEN_FILE"},
    ),
    "nnunet": Miniature(
        make=nnunet,
        series=dict.fromkeys(("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "case_2"), ("T1", "FLAIR")),
        patients=[("BraTS-GLI-00001-000", "BraTS-GLI-00001-001")],
        segments={key: {"segment_1", "enhancing tumor"} for key in ("BraTS-GLI-00001-000", "case_2")},
        broken=("imagesTs/case_2_0001.nii.gz", "case_2"),
        skipped={"HIDDEN_FILE", "OTHER_FILE"},
    ),
    "brats": Miniature(
        make=brats,
        series={
            **dict.fromkeys(("Brats18_2013_2_1", "Brats18_2013_3_1"), _BRATS),
            **dict.fromkeys(("BraTS-GLI-00005-000", "BraTS-GLI-00005-001"), _BRATS),
        },
        patients=[("BraTS-GLI-00005-000", "BraTS-GLI-00005-001")],
        segments={
            "Brats18_2013_2_1": {"necrotic core", "edema", "enhancing tumor"},
            "BraTS-GLI-00005-001": {"enhancing tumor", "resection cavity"},
        },
        labels={"Brats18_2013_2_1": {"high_grade": "PRESENT"}, "Brats18_2013_3_1": {"high_grade": "ABSENT"}},
        broken=("TrainingData/new/BraTS-GLI-00005-001/BraTS-GLI-00005-001-t1c.nii.gz", "BraTS-GLI-00005-001"),
        skipped={"HIDDEN_FILE"},
    ),
    "bids": Miniature(
        make=bids,
        series={
            "sub-01_ses-a": ("FLAIR", "T1w ce-gadolinium"),
            "sub-01_ses-b": ("FLAIR", "T1w ce-gadolinium"),
            "sub-02": ("T2w",),
        },
        patients=[("sub-01_ses-a", "sub-01_ses-b")],
        segments={"sub-01_ses-a": {"lesion"}, "sub-02": {"grey", "white"}},
        labels={
            "sub-01_ses-a": {"relapse": "ABSENT"},
            "sub-01_ses-b": {"relapse": "PRESENT"},
            "sub-02": {"relapse": "NOT_ASSESSED"},
        },
        broken=("sub-01/ses-b/anat/sub-01_ses-b_FLAIR.nii.gz", "sub-01_ses-b"),
        skipped={"HIDDEN_FILE", "OTHER_DATATYPE", "OTHER_SPACE"},
    ),
    "ct_rate": Miniature(
        make=ct_rate,
        series={"train_1_a": ("B30f", "B30f"), "train_1_b": ("B30f",), "valid_1_a": ("B30f",)},
        patients=[("train_1_a", "train_1_b")],
        reports=dict.fromkeys(("train_1_a", "train_1_b", "valid_1_a"), _CT_RATE_REPORT),
        labels={
            "train_1_a": {"Cardiomegaly": "UNCERTAIN", "Lung nodule": "ABSENT"},
            "train_1_b": {"Cardiomegaly": "PRESENT", "Lung nodule": "ABSENT"},
            "valid_1_a": {"Cardiomegaly": "PRESENT", "Lung nodule": "ABSENT"},
        },
        broken=("dataset/train/train_1/train_1_b/train_1_b_1.nii.gz", "train_1_b"),
        skipped={"HIDDEN_FILE", "UNFIXED_TWIN"},
        quantity="HU",
    ),
    "totalsegmentator": Miniature(
        make=totalsegmentator,
        series={"s0000": ("ct",), "s0001": ("ct",)},
        segments={key: {"liver", "kidney_left"} for key in ("s0000", "s0001")},
        broken=("s0001/ct.nii.gz", "s0001"),
        skipped={"HIDDEN_FILE"},
        quantity="HU",
    ),
    "lidc_nodules": Miniature(
        make=lidc_nodules,
        series=dict.fromkeys(("LIDC-IDRI-0004_R_1", "LIDC-IDRI-0004_R_2", "LIDC-IDRI-0009_R_1"), ("",)),
        patients=[("LIDC-IDRI-0004_R_1", "LIDC-IDRI-0004_R_2")],
        segments={"LIDC-IDRI-0009_R_1": {"nodule"}},
        reports={"LIDC-IDRI-0009_R_1": {"INDICATION": "smoker"}},
        labels={
            "LIDC-IDRI-0004_R_1": {"malignant": "ABSENT"},
            "LIDC-IDRI-0004_R_2": {"malignant": "PRESENT"},
            "LIDC-IDRI-0009_R_1": {"malignant": "ABSENT"},
        },
        broken=("image/LIDC-IDRI-0009_R_1.nii.gz", "LIDC-IDRI-0009_R_1"),
        skipped={"HIDDEN_FILE"},
        quantity="HU",
    ),
    "lidc": Miniature(
        make=lidc,
        series=dict.fromkeys(("first", "second", "third"), ("chest",)),
        patients=[("second", "third")],
        segments={"first": {"nodule"}, "second": set()},
        labels=_LIDC_LABELS,
        broken=("LIDC-IDRI-0001/study/series/069.xml", "first"),
        skipped={"HIDDEN_FILE", "LABEL_WITHOUT_IMAGE", "OTHER_FILE"},
        is_nifti=False,
        quantity="HU",
    ),
    "idc": Miniature(
        make=idc,
        series=dict.fromkeys(("first", "second", "third"), ("chest",)),
        patients=[("first", "second")],
        broken=(f"made_collection/P-1/{uid('study', 'second')}/CT_{uid('series', 'second')}/extra.dcm", "second"),
        skipped={"HIDDEN_FILE"},
        is_nifti=False,
        quantity="HU",
    ),
}
"""Importer -> its miniature."""
