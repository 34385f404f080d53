"""The recipes for public data sets: every layout has one, their configs load, their commands exist."""

import re
from pathlib import Path

import pytest
import yaml

from medfuse.config.load import load_config
from medfuse.config.schema import TrainConfig
from medfuse.ingest.importers import IMPORTERS
from tests.importer_layouts import MINIATURES

ROOT = Path(__file__).resolve().parents[2] / "data_manifests"
LIST = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^\| `(\w+)`: .*?\[[\w-]+\.md\]\(([\w-]+\.md)\)", LIST, re.MULTILINE))


def test_every_layout_has_its_recipe() -> None:
    assert set(RECIPES) == set(IMPORTERS.names())
    assert all((ROOT / name).is_file() for name in RECIPES.values())


@pytest.mark.parametrize("recipe", sorted(RECIPES.values()))
def test_a_recipe_says_what_it_takes(recipe: str, tmp_path: Path) -> None:
    text = (ROOT / recipe).read_text(encoding="utf-8")
    assert re.search(r"^medfuse index \S.* --output \S+", text, re.MULTILINE)
    (trained,) = re.findall(r"^medfuse train (\S+\.yaml) --output \S+ --set data\.manifest=\S+", text, re.MULTILINE)
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    path = tmp_path / trained
    path.write_text(block, encoding="utf-8")
    config = load_config(path, [], TrainConfig)
    assert config.name == path.stem
    assert re.search(r"licen[cs]e|CC.BY|terms", text), "a recipe states the licence"


@pytest.mark.parametrize("layout", sorted(set(RECIPES) - {"idc", "totalsegmentator", "decathlon"}))
def test_names_in_a_recipe_are_those_that_the_importer_gives(layout: str) -> None:
    """Findings and segments of the config are among those of the miniature, so that a recipe does not run dry."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / RECIPES[layout]).read_text(), re.MULTILINE | re.DOTALL)
    labels = yaml.safe_load(block)["labels"]
    made = MINIATURES[layout]
    given = {name for values in made.labels.values() for name in values}
    shown = {name for names in made.segments.values() for name in names}
    assert set(labels.get("findings", ())) & given or not labels.get("findings")
    assert set(labels.get("segments", ())) & shown or not labels.get("segments")
