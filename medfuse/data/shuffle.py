"""Reports given to other patients: a control, which tells what a note says from that there is one."""

from collections.abc import Mapping

from medfuse.seeding import stream


def other_patients(patient_keys: Mapping[str, str], seed: int, split: str) -> dict[str, str]:
    """For each study, the study whose report it is to have: each report goes to one study, of another patient.

    The patients are put in a random order and the reports move on by as many places as the largest patient has
    studies. Where one patient has more than half of the studies, some of them keep to that patient.

    Args:
        patient_keys: Study UID -> patient, of the studies that have a report.
        seed: The run's seed.
        split: Name of the split, each of which is shuffled by itself.
    """
    studies_of: dict[str, list[str]] = {}
    for uid in sorted(patient_keys):
        studies_of.setdefault(patient_keys[uid], []).append(uid)
    patients = sorted(studies_of)
    order = stream(seed, "shuffled reports", split).permutation(len(patients))
    studies = [uid for position in order for uid in studies_of[patients[position]]]
    step = max(map(len, studies_of.values()), default=0)
    return {uid: studies[(position + step) % len(studies)] for position, uid in enumerate(studies)}
