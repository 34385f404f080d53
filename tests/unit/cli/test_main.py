"""The command line: lazy, plain about errors, exact about exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from medfuse import __version__
from medfuse.cli.main import COMMANDS, load_command, main
from medfuse.errors import ConfigError, StorageError, UnreadableSeriesError

HEAVY = {
    *("torch", "monai", "transformers", "accelerate", "streamlit", "pydicom", "highdicom", "SimpleITK", "nibabel"),
    *("polars", "sklearn", "scipy", "numpy", "pandas", "sqlalchemy", "yaml"),
}


def loaded_by(*arguments: str) -> set[str]:
    """The top-level packages that a fresh process has imported after `medfuse *arguments`."""
    code = (
        "import sys, json\n"
        "from medfuse.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules}) + "
        "sorted(n for n in sys.modules if n.startswith('medfuse.'))))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(autouse=True)
def _crash_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[..., None]], None]]:
    """Put a function in the place of `medfuse score`."""

    def put(function: Callable[..., None]) -> None:
        module = ModuleType("medfuse.cli.score")
        module.score = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "medfuse.cli.score", module)

    return put


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def raising(error: BaseException) -> Callable[[], None]:
    def score() -> None:
        """Raise."""
        raise error

    return score


def test_help_lists_every_command_and_imports_none() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medfuse.cli.main", "--help"], capture_output=True, text=True, check=True
    )
    for name in COMMANDS:
        assert f" {name} " in done.stdout
    loaded = loaded_by("--help")
    assert not loaded & HEAVY
    assert not {f"medfuse.cli.{name}" for name in COMMANDS} & loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_only_its_light_module(name: str) -> None:
    loaded = loaded_by(name, "--help")
    assert not loaded & HEAVY
    modules = {one: f"medfuse.cli.{one.replace('-', '_')}" for one in COMMANDS}
    assert {one for one, module in modules.items() if module in loaded} == {name}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_describes_itself(name: str) -> None:
    assert (load_command(name).__doc__ or "").strip()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"medfuse {__version__}\n"


def test_a_misspelt_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("scoer") == 2
    assert "score" in capsys.readouterr().err


def test_arguments_reach_the_command_and_done_is_zero(command, capsys: pytest.CaptureFixture[str]) -> None:
    def score(checkpoint: Path, output: Annotated[Path, typer.Option()], fast: bool = False) -> None:
        """Score."""
        typer.echo(f"{checkpoint.name} {output.name} {fast}")

    command(score)
    assert exit_code("score", "a", "--output", "b", "--fast", "--verbose") == 0
    assert capsys.readouterr().out == "a b True\n"
    assert exit_code("score", "a") == 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("x.yaml: a is unknown;\n  did you mean b?"), 2, "error: x.yaml: a is unknown; did you mean b?"),
        (StorageError("out: no space left"), 2, "error: out: no space left"),
        (UnreadableSeriesError("series 3 has gaps"), 2, "error: series 3 has gaps"),
        (OSError(28, "No space left on device", "out.csv"), 2, "error: out.csv: No space left on device; free some"),
        (
            PermissionError(13, "Permission denied", "out"),
            2,
            "error: out: Permission denied; free some space or choose",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Exit(1), 1, ""),
        (typer.Exit(), 0, ""),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    command, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    command(raising(error))
    assert exit_code("score") == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == (1 if line else 0)


def test_a_fault_names_a_report_without_the_message(
    command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command(raising(ValueError("DOE^JANE")))
    assert exit_code("score") == 70
    error = capsys.readouterr().err
    (report,) = tmp_path.glob("medfuse-crash-*.txt")
    assert error.count("\n") == 1
    assert str(report) in error
    assert "ValueError at medfuse/cli/main.py:" in error
    text = report.read_text(encoding="utf-8")
    assert "builtins.ValueError" in text
    assert f"medfuse {__version__}" in text
    assert "test_main.py" in text
    assert "DOE" not in error + text


def test_a_fault_without_room_for_its_report_is_still_one_line(
    command, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    command(raising(KeyError("x")))
    assert exit_code("score") == 70
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("error", "code"), [(ValueError("planted"), 70), (ConfigError("planted"), 2)])
def test_verbose_shows_the_traceback(
    command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    command(raising(error))
    assert exit_code("score", "--verbose") == code
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MEDFUSE_DEBUG", "1")
    assert exit_code("score") == code
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MEDFUSE_DEBUG", "0")
    assert exit_code("score") == code
    assert "Traceback" not in capsys.readouterr().err


def test_logs_go_to_stderr_by_level_and_other_libraries_stay_silent(
    command, capsys: pytest.CaptureFixture[str]
) -> None:
    import logging

    def score() -> None:
        """Log."""
        for name in ("medfuse.ingest", "pydicom"):
            for level in (logging.DEBUG, logging.INFO, logging.ERROR):
                logging.getLogger(name).log(level, "said by %s at %d", name, level)

    command(score)
    for flags, levels in ((["--quiet"], [40]), ([], [20, 40]), (["--verbose"], [10, 20, 40])):
        assert exit_code("score", *flags) == 0
        printed = capsys.readouterr()
        assert printed.out == ""
        assert [level for level in (10, 20, 40) if f"medfuse.ingest at {level}" in printed.err] == levels
        assert "pydicom" not in printed.err


def test_a_librarys_warning_stays_off_the_terminal() -> None:
    code = (
        "import sys, types, warnings\n"
        "module = types.ModuleType('medfuse.cli.score')\n"
        'exec(\'def score():\\n    "Warn."\\n    import warnings; warnings.warn("DOE^JANE")\', module.__dict__)\n'
        "sys.modules['medfuse.cli.score'] = module\n"
        "from medfuse.cli.main import main\n"
        "main(['score'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""


def test_help_shows_the_text_for_users_only(command, capsys: pytest.CaptureFixture[str]) -> None:
    def score(path: Path) -> None:
        """Score studies.

        More about
        scoring.

        Args:
            path: Hidden here.

        Raises:
            UsageError: Hidden too.
        """

    command(score)
    assert exit_code("score", "--help") == 0
    out = capsys.readouterr().out
    assert "More about scoring." in out
    assert "Hidden" not in out
    assert "--verbose" in out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can catch")
def test_sigterm_lets_a_command_tidy_up(command, capsys: pytest.CaptureFixture[str]) -> None:
    def score() -> None:
        """Be terminated."""
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            typer.echo("tidy")

    command(score)
    before = signal.getsignal(signal.SIGTERM)
    assert exit_code("score") == 143
    assert capsys.readouterr().out == "tidy\n"
    assert signal.getsignal(signal.SIGTERM) == before
