"""What an identity looks like in free text: rules in English, German, French, Spanish and Chinese wording.

The kinds follow the identifiers that the Safe Harbor rule lists (45 CFR 164.514(b)(2)): names, places smaller than a
state, dates but the year, ages above 89, telephone and other numbers, addresses on the net.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern of one kind.

    Args:
        kind: What takes its place, e.g. `NAME`.
        pattern: What is looked for.
        group: The part that goes; the whole match where it is 0.
    """

    kind: str
    pattern: re.Pattern[str]
    group: int = 0


def _either(*lines: str) -> str:
    return "|".join(lines)


def _rule(kind: str, pattern: str, *, group: int = 0, flags: int = re.IGNORECASE) -> Rule:
    return Rule(kind, re.compile(pattern, flags | re.MULTILINE), group)


def _exact(kind: str, pattern: str, *, group: int = 0) -> Rule:
    return _rule(kind, pattern, group=group, flags=0)


_MONTHS = _either(
    r"jan(?:uary|uar|vier)?|jän(?:ner)?|ene(?:ro)?|feb(?:ruary|ruar|rero)?|f[ée]v(?:rier)?|mar(?:ch|s|zo)?|m[äa]rz",
    r"apr(?:il)?|avr(?:il)?|abr(?:il)?|mai|may(?:o)?|june?|juni|juin|junio|july?|juli|juillet|julio|aug(?:ust)?|ao[uû]t",
    r"ago(?:sto)?|sep(?:t(?:ember|embre|iembre)?)?|o[ck]t(?:ober|obre|ubre)?|nov(?:ember|embre|iembre)?",
    r"de[cz](?:ember)?|d[ée]c(?:embre)?|dic(?:iembre)?",
)
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d\d"
_ORDINAL = rf"{_DAY}(?:st|nd|rd|th|er|\.)?"
_CLOCK = r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
_DATES = (
    rf"{_YEAR}(?P<s>[-./]){_MONTH}(?P=s){_DAY}{_CLOCK}",
    rf"{_DAY}\.\s?{_MONTH}\.\s?(?:{_YEAR}|\d\d)(?!\.?\d|\s?[cm]m)",
    rf"{_DAY}(?P<s>[-/]){_MONTH}(?P=s)(?:{_YEAR}|\d\d)",
    rf"{_MONTH}(?P<s>[-/]){_DAY}(?P=s)(?:{_YEAR}|\d\d)",
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[0-2]\d[0-5]\d(?:[0-5]\d)?)?",
    rf"{_ORDINAL}[ \-](?:de |of )?(?:{_MONTHS})\.?,?[ \-](?:de |del )?(?:{_YEAR}|\d\d)",
    rf"(?:{_MONTHS})\.? {_DAY}(?:st|nd|rd|th)?,? {_YEAR}",
    rf"{_ORDINAL} (?:de |of )?(?:{_MONTHS})",
    rf"(?:{_MONTHS})\.? {_DAY}(?:st|nd|rd|th)?(?!\s?(?:[cm]m|%|\d|[.,x]\s?\d))",
    rf"(?:{_MONTHS})\.?,? (?:de |del )?{_YEAR}",
    rf"{_MONTH}/{_YEAR}",
)
_CHINESE_DATE = r"(?:19|20)\d\d\s?年\s?\d{1,2}\s?月(?:\s?\d{1,2}\s?[日号])?"
_BORN = (
    r"(?<!\w)(?:born(?: in| on)?|d\.?o\.?b\.?:?|geb(?:oren)?\.?(?: am| im| in)?|née? (?:le|en)|nacid[oa] (?:el|en))"
    rf"[ \t]+{_YEAR}(?![-./]?\d)"
)
_TITLES = _either(
    r"Drs?\.?(?: ?med\.?)?|D[Rr]a\.?|Doctor|Doktor|Docteure?|Doctora|Prof(?:essor|esseur|\.)?(?: Dr\.?(?: ?med\.?)?)?",
    r"PD Dr\.?(?: ?med\.?)?|Mr\.?|Mrs\.?|Ms\.?|Miss|Herrn?(?: (?:Dr|Prof)\.?(?: ?med\.?)?)?|Frau(?: (?:Dr|Prof)\.?)?",
    r"Mme\.?|Mlle\.?|Monsieur|Madame|Sra?\.?|Srta\.?|Doña|Señora?",
)
_WORD = r"(?:[A-ZÀ-ÖØ-Þ][\w’'\-]{1,40}|[A-Z]\.)"
_PARTICLE = r"(?:von|van|de|der|den|del|la|le|zu|di|da|dos|bin|al|el|y)"
_NO_NAME = (
    r"(?!(?:She|He|They|It|This|There|The|A|An|No|Not|None|Is|Has|Had|Was|Denies|See|Normal|Stable|Unknown|Same|Er|Sie|Der|"
    r"Die|Das|Kein|Keine|Il|Elle|Le|Un|Une|El|La|Una|Sin|Pas)\b)"
)
_NAME = _NO_NAME + rf"(?:{_PARTICLE}[ \t]+){{0,2}}{_WORD}(?:[ \t]+(?:{_PARTICLE}[ \t]+){{0,2}}{_WORD}){{0,3}}"
_NAME_LABELS = _either(
    r"patient(?:en)?(?:'s)?[ _]?name|name of patient|name|surname|vorname",
    r"(?:first|last|family|given)[ _]?name|nachname",
    r"nom(?: du patient)?|pr[ée]nom|nombre(?: del paciente)?|apellidos?|paciente|patient|patientin",
    r"referring (?:physician|doctor|provider)|referred by|ordering (?:physician|provider)|attending(?: physician)?",
    r"radiologist|physician|(?:electronically )?signed(?: by)?|dictated(?: by)?|transcribed by|cc",
    r"(?:reported|read|verified|approved|reviewed) by|zuweiser(?:in)?|überweiser(?:in)?|befunder(?:in)?",
    r"unterzeichnet von|gezeichnet|gez\.|vidiert von|m[ée]decin(?: prescripteur| demandeur)?|sign[ée](?: par)?",
    r"dict[ée] par|m[ée]dico(?: solicitante)?|firmado(?: por)?|dictado por",
)
_SIGNED = _either(
    r"(?:electronically signed|dictated|signed|reported|transcribed|read|reviewed) by",
    r"unterzeichnet von|vidiert von|sign[ée] par|firmado por",
)
_CHINESE_NAME_LABELS = "姓名|患者|病人|医师|医生|报告医师|审核医师|申请医师|技师"
_ID_LABELS = _either(
    r"mrn|medical record(?: number| no\.?)?|pat\.?[ \-]?(?:id|nr\.?)",
    r"patient(?:en)?[ \-_]?(?:id|nr\.?|nummer|no\.?|number)",
    r"acc(?:ession)?\.?(?: ?(?:no\.?|number|nr\.?|#))?|ssn",
    r"nhs(?: (?:no\.?|number))?|insurance(?: (?:no\.?|number|id))?",
    r"fall(?:nummer|-?nr\.?)|auftrags(?:nummer|-?nr\.?)|versicherten(?:nummer|-?nr\.?)|ipp|nhc|dni|nif",
    r"num[ée]ro(?: de)? (?:dossier|patient|s[ée]cu)|n[º°]\.?(?: de)? (?:historia|dossier)|historia cl[íi]nica",
    r"(?:case|order|account|visit|encounter|device|serial|record|study)(?: no\.?| number| id|#)",
)
_CHINESE_ID_LABELS = "病历号|住院号|门诊号|检查号|影像号|身份证号?|登记号"
_PHONE_LABELS = r"tel(?:efon|[ée]phone|[ée]fono)?|phone|fax|mobile|handy|pager|ext|电话"
_ARTICLES = r"(?:de |del |du |des |la |los |las |l['’])*"
_PLACE = r"[A-ZÀ-Þ][\w'’\-]+"
_STREETS = (
    r"\d{1,5}[a-z]?,? (?:(?:[NSEW]\.?|North|South|East|West) )?(?:[A-Z][\w.'\-]{1,30} ){1,4}"
    r"(?i:street|st|avenue|ave|road|rd|lane|ln|drive|boulevard|blvd|terrace|court|ct|place|square|way|parkway|highway)\b\.?",
    r"(?<!\w)[A-ZÄÖÜ][\w\-]{0,40}?(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|damm|ufer) \d{1,4} ?[a-z]?\b",
    rf"\d{{1,4}},? (?:bis,? |ter,? )?(?i:rue|avenue|boulevard|chemin|place|impasse|all[ée]e|quai) {_ARTICLES}{_PLACE}"
    rf"(?: {_PLACE})*",
    rf"(?i:calle|c/|avenida|avda\.?|plaza|paseo|camino) {_ARTICLES}{_PLACE}(?: {_ARTICLES}{_PLACE})*,? "
    r"(?:n[º°]\.? ?)?\d{1,4}",
    r"\b(?:P\.? ?O\.? Box|Postfach|Apartado) \d+",
    r"(?:(?<![\w.'\-])[A-Z][\w.'\-]{1,30}(?: [A-Z][\w.'\-]{1,30}){0,2},? )?\b[A-Z]{2} \d{5}(?:-\d{4})?\b",
    r"(?<![\w.])(?:D-|CH-|A-|F-)?\d{4,5} [A-ZÄÖÜ][a-zäöüß]+(?: am [A-Z][a-z]+)?(?=\s*(?:$|[,;.\n]))",
)
_BEHIND = r"[ \t]*[:：#=][ \t]*#?[ \t]?"
_ALONE, _END = r"(?<![\w.])", r"(?!\w)"

RULES: tuple[Rule, ...] = (
    _rule("EMAIL", r"(?<![\w.+\-])[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,5}"),
    _rule("URL", r"\b(?:https?://|ftp://|www\.)\S+"),
    *(_exact("ADDRESS", street) for street in _STREETS),
    _exact(
        "NAME",
        rf"(?<!\w)(?i:{_NAME_LABELS}){_BEHIND}((?:(?:{_TITLES})[ \t]+)*{_NAME}(?:,[ \t]*{_NAME}(?!\w|[ \t]*[:：#]))?)",
        group=1,
    ),
    _exact("NAME", rf"(?:{_CHINESE_NAME_LABELS})\s*[:：]\s*([\u4e00-\u9fff·]{{2,6}})", group=1),
    _exact("NAME", rf"(?<!\w)(?:{_TITLES})[ \t]+((?:(?:{_TITLES})[ \t]+)?{_NAME})", group=1),
    _exact("NAME", rf"(?i:{_SIGNED})[ \t]+({_NAME}(?:,[ \t]*{_NAME})?)", group=1),
    _rule("ID", rf"(?<!\w)(?:{_ID_LABELS}){_BEHIND}(\w[\w./\-]{{2,}})", group=1),
    _rule("ID", rf"(?:{_CHINESE_ID_LABELS})\s*[:：]?\s*([A-Za-z0-9\-]{{3,}})", group=1),
    _rule("ID", r"\b\d{3}-\d{2}-\d{4}\b"),
    *(_rule("DATE", f"{_ALONE}{pattern}{_END}") for pattern in _DATES),
    _rule("DATE", _BORN),
    _rule("DATE", _CHINESE_DATE),
    _rule("PHONE", rf"{_ALONE}(?:{_PHONE_LABELS})\.?\s*[:：]?\s*(\+?[\d(][\d \-()/.]{{4,}}\d)", group=1),
    _rule("PHONE", rf"{_ALONE}\+\d{{1,3}}[ \-.]?(?:\(?\d{{1,5}}\)?[ \-./]?){{2,6}}\d(?![\w.]\d)"),
    _rule("PHONE", rf"{_ALONE}\(?\d{{3}}\)?[ \-.]\d{{3}}[ \-.]\d{{4}}{_END}"),
    _rule("PHONE", rf"{_ALONE}0\d{{2,5}}[ /\-]\d{{3,}}(?:[ \-]\d{{2,}})*{_END}"),
    _exact("ID", rf"{_ALONE}[A-Z]{{0,4}}\d{{7,}}{_END}"),
    _rule("AGE", r"\b(9\d|1[0-2]\d)(?=[ \-]?(?:years?|yrs?|y/?o|j[äa]hrig|jahre|ans|a[ñn]os|岁))", group=1),
)
"""In the order in which they are applied."""

UID_IN_TEXT = re.compile(r"(?<![\w.])[0-2](?:\.(?:0|[1-9]\d*)){5,}(?!\w)")
"""A DICOM UID within a text: long enough not to be a heading's number."""
