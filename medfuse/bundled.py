"""Where the dashboard and the configs lie: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bundle_root() -> Path:
    """The folder that holds `apps/` and `configs/`.

    In a checkout that is the checkout; in an installed wheel it is `medfuse/_bundled`.
    Put it on PYTHONPATH to import `apps`.
    """
    installed = _PACKAGE / "_bundled"
    return installed if installed.is_dir() else _PACKAGE.parent


def apps_directory() -> Path:
    """The folder of the apps, e.g. `apps_directory() / "viewer" / "app.py"`."""
    return bundle_root() / "apps"


def configs_directory() -> Path:
    """The folder of the configs that ship with medfuse."""
    return bundle_root() / "configs"


def find_config(path: Path) -> Path:
    """`path` itself, or the config of that name that ships with medfuse where `path` does not exist.

    So `configs/train/hippocampus.yaml` and `train/hippocampus.yaml` work from any folder.
    """
    if path.exists() or path.is_absolute():
        return path
    for shipped in (bundle_root() / path, configs_directory() / path):
        if shipped.is_file() and shipped.resolve().is_relative_to(configs_directory().resolve()):
            return shipped
    return path
