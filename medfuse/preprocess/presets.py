"""Presets: the rule of a channel by its usual name, for the wording and the headers of many sites and vendors.

`preset: t1ce` starts a rule from one of these; `data_manifests/channels.md` says in words what each looks for, and how
a config changes it. A series whose name says nothing at all is known by echo, repetition and inversion time instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from medfuse.domain.study import Modality
from medfuse.preprocess.conditions import ANYTHING, Condition, Contrast, Preference, Range
from medfuse.preprocess.intensity import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The parts of a `ChannelRule` that a preset fills in; see there.

    Args:
        modality: Modality.
        exclude: Pattern that the description must not contain.
        any_of: Conditions of which one has to hold.
        must: Conditions that all have to hold.
        must_not: Conditions of which none may hold.
        prefer: Preferences by name.
        may_share: Whether the series may fill another channel too.
        window: Intensity window.
    """

    modality: Modality
    exclude: str
    any_of: tuple[Condition, ...] = ()
    must: Condition = ANYTHING
    must_not: Condition = ANYTHING
    prefer: Mapping[str, Preference] = field(default_factory=dict)
    may_share: bool = False
    window: Window | None = None


def _word(pattern: str) -> str:
    """`pattern` standing by itself: no letter touches it."""
    return rf"(?<![a-z])(?:{pattern})(?![a-z])"


_PREFIX = r"(?<![a-z])(?:ax|axial|sag|cor|tra|obl|wip|fs|3d|[a-z])?"
"""What may touch a weighting on its left: a plane, or a vendor's letter as in `eT1W`; no longer word."""

_T1 = (
    rf"{_PREFIX}t1(?![0-9])|mp2?-?rage|bravo|{_word('i?r?-?fspgr|spgr|i?r?-?spgr')}|tfl3d|3d[\s_-]*tfe"
    rf"|{_word('vibe|thrive|lava|dixon')}|mdeft"
)
_FLAIR = r"flair|dark[\s_.\-]*fl|fluid[\s_.\-]*(?:atten|suppr)|水抑制|压水|壓水"
_TIRM = r"t2w?[\s_]*tirm|tirm[\s_]*t2"
_T2 = rf"{_PREFIX}t2(?![0-9])|{_word('frfse|ciss|fiesta|drive')}"
_T2_STAR = (
    rf"t2w?[\s_]*(?:\*|star|gre|ffe|fl2d|hemo|haem|me2d|merge|medic)|{_word('t2s')}|t2\*|{_word('gre|merge|medic')}"
    r"|h(?:a)?emo|gradient|fl2d[\s_]*t2"
)
_NO_STRUCTURE = (
    rf"locali[sz]|{_word('loc|survey|fa|adc|asl|dsc|dce|mt|mag|pha?|epi|rest|svs|csi|ref|fmri|bold|sub(?:tr[a-z]*)?')}"
    rf"|scout|3[\s_\-]*pl(?:ane)?(?![a-z])|smart[\s_]*brain|aahead|topogr|dwi|diff|trace|dti|tensor|{_word('b')}\s?=?\s?\d{{3}}"
    rf"|b\d{{3,4}}(?!\d)|swi|swan|mip|phase|perf|r?cb[fv]|{_word('mtt|ttp|tmax')}|screen|tof|mra|mrv|venogr|spectr"
    r"|field[\s_]*map|(?<![a-z])b[01](?![0-9])|map(?![a-z])|calib|asset|flow|rho|molli|cest|relax"
)
_CT_OTHER = (
    r"scout|topogr|surview|locali[sz]|dose|dosis|protocol|protokoll|monitor|pre-?mon|smart[\s_]*prep|tracker|bolus|timing"
    rf"|mi[np]p?(?![a-z])|vrt|{_word('3d|vr|test')}|screen|summary|perf|{_word('cbf|cbv|mtt|tmax')}|calc[a-z]*[\s_]*scor"
)
_NO_IMAGE = (
    r"LOCALIZER|\bMIP\b|MNIP|MIN_?IP|PROJECTION|SCREEN|VOLREN|SUBTRACTION|\bADC\b|\bFA\b|PHASE MAP|CSA (?:3D|REPORT)"
)

_SOFT_KERNEL = (
    r"^(?:stand|stnd|soft|smooth|detail|chst|head|(?!fc)[a-z]{1,2}[1-4]\d|fc(?:0|1|2|4)\d|(?:[abc]|u[abc]|ya|yb)$)"
)
_SHARP_KERNEL = r"lung|bone|edge|ultra|sharp|^(?:(?!fc)[a-z]{1,2}[5-9]\d|fc[358]\d|(?:[del]|y[cde]?)$)"

_ORIGINAL = Preference(points=2, when=Condition(image_type="^ORIGINAL"))
_AXIAL = Preference(points=1, when=Condition(orientation=("axial",)))
_REFORMAT = Preference(points=-1, when=Condition(description=r"(?<![a-z])mpr(?!age)|reformat|refmt"))
_THIN = Preference(points=3, value="slice_spacing_mm", best=1, worst=6)
_MANY = Preference(points=1, value="n_slices", best=150, worst=10)
_STRUCTURE = {
    "original image": _ORIGINAL,
    "axial": _AXIAL,
    "reformatted": _REFORMAT,
    "thin slices": _THIN,
    "many slices": _MANY,
}
_CT = {
    "original image": _ORIGINAL,
    "axial": Preference(points=3, when=Condition(orientation=("axial",))),
    "reformatted": _REFORMAT,
    "thin slices": _THIN,
    "many slices": Preference(points=2, value="n_slices", best=300, worst=20),
}
_FEW = Range(max=3)


def _nameless(**asked: Range) -> Condition:
    """A series without description and protocol name, known by its times alone."""
    return Condition(description="^$", **asked)  # type: ignore[arg-type]


_T1_PARTS = (
    Condition(description=_T1),
    _nameless(echo_time_ms=Range(max=25), repetition_time_ms=Range(max=1000)),
    _nameless(echo_time_ms=Range(max=25), inversion_time_ms=Range(min=400, max=1300)),
)
_T1_NOT = rf"{_NO_STRUCTURE}|{_PREFIX}t2(?![0-9])|{_word('stir|tirm|pd|pdw')}|dark[\s_.\-]*fl"
_LONG_ECHO = Range(min=50)
_SOFT_NAME = r"soft|weich|st(?:an)?d(?![a-z])|mediast|parench|weichteil|mou(?![a-z])|abdo|软组织|縦隔|纵隔"


def _mr(
    names: str, times: tuple[Condition, ...] = (), exclude: str = _NO_STRUCTURE, not_echo_ms: Range | None = None
) -> Preset:
    return Preset(
        modality=Modality.MR,
        exclude=exclude,
        any_of=(Condition(description=names), *times),
        must_not=Condition(image_type=_NO_IMAGE, n_slices=_FEW, echo_time_ms=not_echo_ms),
        prefer=_STRUCTURE,
    )


def _ct(window: Window, *, kernel: str, other_kernel: str, names: str, exclude: str = _CT_OTHER) -> Preset:
    wanted = {
        "kernel": Preference(points=4, when=Condition(kernel=kernel)),
        "wrong kernel": Preference(points=-4, when=Condition(kernel=other_kernel)),
        "named so": Preference(points=2, when=Condition(description=names)),
    }
    return Preset(
        modality=Modality.CT,
        exclude=exclude,
        must_not=Condition(image_type=_NO_IMAGE, n_slices=_FEW),
        prefer=_CT | wanted,
        may_share=True,
        window=window,
    )


PRESETS: Mapping[str, Preset] = {
    "t1": Preset(
        modality=Modality.MR,
        exclude=_T1_NOT,
        any_of=_T1_PARTS,
        must_not=Condition(image_type=_NO_IMAGE, n_slices=_FEW, contrast=Contrast.WITH, echo_time_ms=_LONG_ECHO),
        prefer=_STRUCTURE | {"without contrast": Preference(points=1, when=Condition(contrast=Contrast.WITHOUT))},
    ),
    "t1ce": Preset(
        modality=Modality.MR,
        exclude=_T1_NOT,
        any_of=_T1_PARTS,
        must=Condition(contrast=Contrast.WITH),
        must_not=Condition(image_type=_NO_IMAGE, n_slices=_FEW, echo_time_ms=_LONG_ECHO),
        prefer=_STRUCTURE,
    ),
    "t2": Preset(
        modality=Modality.MR,
        exclude=rf"{_NO_STRUCTURE}|{_FLAIR}|{_TIRM}|{_T2_STAR}|{_word('stir')}|{_PREFIX}t1(?![0-9])",
        any_of=(
            Condition(description=_T2),
            _nameless(echo_time_ms=Range(min=60), repetition_time_ms=Range(min=2000)),
        ),
        must_not=Condition(
            image_type=_NO_IMAGE, n_slices=_FEW, echo_time_ms=Range(max=45), inversion_time_ms=Range(min=1500)
        ),
        prefer=_STRUCTURE,
    ),
    "flair": _mr(
        rf"{_FLAIR}|{_TIRM}",
        (_nameless(echo_time_ms=Range(min=70), inversion_time_ms=Range(min=1500, max=3200)),),
        rf"{_NO_STRUCTURE}|{_PREFIX}t1(?![0-9])",
        Range(max=45),
    ),
    "pd": _mr(rf"{_PREFIX}pd(?:w)?(?![a-z])|proton[\s_]*dens", exclude=_NO_STRUCTURE, not_echo_ms=Range(min=60)),
    "stir": _mr(rf"{_word('stir')}|{_word('tirm')}|short[\s_]*tau", exclude=rf"{_NO_STRUCTURE}|{_FLAIR}|{_TIRM}"),
    "t2star": _mr(_T2_STAR, exclude=rf"{_NO_STRUCTURE}|{_FLAIR}|{_PREFIX}t1(?![0-9])"),
    "swi": Preset(
        modality=Modality.MR,
        exclude=rf"{_word('mip|mnip|pha|phase|mag|loc')}|min[\s_]*ip|locali[sz]|filt_pha",
        any_of=(Condition(description=rf"swi|swan|suscept|ven[\s_]*bold|{_word('swip')}|磁敏感"),),
        must_not=Condition(image_type=rf"{_NO_IMAGE}|\\P\\", n_slices=_FEW),
        prefer=_STRUCTURE,
    ),
    "dwi": Preset(
        modality=Modality.MR,
        exclude=rf"{_word('adc|fa|colfa|exp|eadc|loc')}|apparent|tensor|locali[sz]|calib|ref(?![a-z])",
        any_of=(Condition(description=r"dwi|diff|trace|dti|b[\s_=]*\d{3,4}(?!\d)|弥散|拡散"),),
        must_not=Condition(image_type=rf"{_NO_IMAGE}|EADC|EXPONENTIAL", n_slices=_FEW),
        prefer=_STRUCTURE
        | {
            "high b-value": Preference(points=3, value="b_value", best=1000, worst=0),
            "trace": Preference(points=2, when=Condition(description="trace|tracew")),
        },
    ),
    "adc": Preset(
        modality=Modality.MR,
        exclude=rf"{_word('eadc|exp|loc')}|exponential|locali[sz]",
        any_of=(Condition(description=rf"{_word('d?adc')}|apparent"), Condition(image_type=r"\bADC\b")),
        must_not=Condition(n_slices=_FEW),
        prefer={"axial": _AXIAL, "thin slices": _THIN, "many slices": _MANY},
    ),
    "ct": Preset(
        modality=Modality.CT,
        exclude=_CT_OTHER,
        must_not=Condition(image_type=_NO_IMAGE, n_slices=_FEW),
        prefer=_CT,
        window=Window(low=-1000, high=1000),
    ),
    "ct_soft": _ct(Window(low=-160, high=240), kernel=_SOFT_KERNEL, other_kernel=_SHARP_KERNEL, names=_SOFT_NAME),
    "ct_lung": _ct(
        Window(low=-1350, high=150),
        kernel=_SHARP_KERNEL,
        other_kernel=r"^bone|fc3\d",
        names=r"lung|lunge|pulm|poumon|polmon|肺|hrct",
    ),
    "ct_bone": _ct(
        Window(low=-500, high=1300),
        kernel=_SHARP_KERNEL,
        other_kernel=r"lung|chst|fc5[0-6]",
        names=r"bone|knochen|(?<![a-z])(?:os|osseux|oss?a|ossea|hueso|osso)(?![a-z])|骨",
    ),
    "pet": Preset(
        modality=Modality.PT,
        exclude=rf"{_word('nac|non?[ _-]?ac|uncorr[a-z]*|wo[ _-]?ac|3d')}|un-?corrected|mip|screen|locali[sz]",
        must_not=Condition(image_type=_NO_IMAGE, n_slices=_FEW),
        prefer=_STRUCTURE
        | {"attenuation corrected": Preference(points=2, when=Condition(description=_word("w?ac|ctac")))},
    ),
}
"""Preset name -> its rule."""
