"""A config is read, merged and refused with the path of the key that is wrong."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from medfuse.config.base import Settings
from medfuse.config.load import config_sha256, load_config, resolved_yaml
from medfuse.config.parts import PartChoice, part_model
from medfuse.errors import ConfigError, LabelLeakageError
from medfuse.registry import Registry

FUSIONS: Registry[object] = Registry("fusion")


@FUSIONS.register("concat")
class _Concat:
    def __init__(
        self, widths: int, /, *, hidden: int, dropout: float = 0.1, sizes: tuple[int, ...] = (1, 2), norm: str = "layer"
    ) -> None: ...


@FUSIONS.register("gated")
def _gated(widths: int, /, *, gate: Literal["soft", "hard"] = "soft") -> object:
    return object()


class _Model(Settings):
    fusion: Annotated[PartChoice, part_model(FUSIONS)] = PartChoice(name="gated")
    heads: dict[str, Annotated[PartChoice, part_model(FUSIONS)]] = Field(default_factory=dict)
    others: tuple[Annotated[PartChoice, part_model(FUSIONS)], ...] = ()
    text: Annotated[PartChoice, part_model(FUSIONS)] | None = None


class _Run(Settings):
    epochs: int
    learning_rate: float = 1e-4
    manifest: Path | None = None
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    plugins: tuple[str, ...] = ()
    model: _Model = _Model()


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str, name: str = "run.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, _Run)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_values_and_defaults(write) -> None:
    config = load_config(write("epochs: 3\nmanifest: a/b.csv\nspacing_mm: [1, 2, 3]\nlearning_rate: 1e-3"), [], _Run)
    assert config.epochs == 3
    assert config.manifest == Path("a/b.csv")
    assert config.spacing_mm == (1.0, 2.0, 3.0)
    assert config.learning_rate == 1e-3
    assert config.model.fusion == PartChoice(name="gated", options={"gate": "soft"})


def test_part_options_are_checked_and_filled_from_the_constructor(write) -> None:
    config = load_config(write("epochs: 1\nmodel: {fusion: {name: concat, hidden: 8, sizes: [3]}}"), [], _Run)
    options = {"hidden": 8, "dropout": 0.1, "sizes": (3,), "norm": "layer"}
    assert config.model.fusion == PartChoice(name="concat", options=options)


def test_a_part_may_be_a_bare_name(write) -> None:
    config = load_config(write("epochs: 1\nmodel: {text: gated, others: [gated]}"), [], _Run)
    assert config.model.text == config.model.others[0] == PartChoice(name="gated", options={"gate": "soft"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs: 1\nmodel: {fusoin: gated}", "model.fusoin is unknown; did you mean model.fusion?"),
        ("epohcs: 1\nepochs: 1", "epohcs is unknown; did you mean epochs?"),
        ("epochs: 1\nmodel: {zzz: 1}", "model.zzz is unknown; model takes fusion, heads, others, text"),
        ("epochs: 1\nmodel: {fusion: {name: concat, hiden: 1, hidden: 2}}", "did you mean model.fusion.hidden?"),
        ("epochs: 1\nmodel: {heads: {a: {name: gated, gaet: soft}}}", "did you mean model.heads.a.gate?"),
        ("epochs: 1\nmodel: {others: [gated, {name: gated, zz: 1}]}", "model.others.1.zz is unknown; it takes gate"),
        ("epochs: 1\nmodel: {fusion: concta}", "model.fusion: unknown fusion 'concta'; did you mean concat?"),
        ("epochs: 1\nmodel: {fusion: zzzzz}", "model.fusion: unknown fusion 'zzzzz'; known: concat, gated"),
        ("epochs: 1\nmodel: {fusion: concat}", "model.fusion.hidden is missing"),
        ("epochs: 1\nmodel: {fusion: {hidden: 1}}", "model.fusion.name is missing"),
        ("epochs: 1\nmodel: {fusion: {name: concat, hidden: 1.5}}", "model.fusion.hidden is 1.5: input should be"),
        ("epochs: 1\nmodel: {fusion: {name: concat, hidden: 1, sizes: [a]}}", 'model.fusion.sizes.0 is "a"'),
        ("epochs: 1\nmodel: {fusion: {name: gated, gate: open}}", "input should be 'soft' or 'hard'"),
        ("learning_rate: 0.1", "epochs is missing; give it in the file or with --set epochs=..."),
        ("epochs: '3'", 'epochs is "3": input should be a valid integer'),
        ("epochs: true", "epochs is true: input should be a valid integer"),
        ("epochs: 1\nspacing_mm: [1, 2]", "spacing_mm.2 is missing"),
        ("", "a config is a mapping of keys to values, found an empty file"),
        ("- 1", "found a list"),
        ("epochs: 1\nepochs: 2", "line 2, column 1: the key 'epochs' stands twice"),
        ("epochs: [1", "line 1"),
        ("epochs: !!python/name:os.system x", "line 1, column 9"),
        ("? [1, 2]\n: 3", "a key has to be a word"),
    ],
)
def test_a_wrong_config_is_refused_with_its_file_and_key(write, text: str, expected: str) -> None:
    path = write(text)
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_several_problems_are_counted(write) -> None:
    assert refused(write("epochs: x\nlerning_rate: 1\nspacing_mm: 3")).endswith(" (and 2 more)")


def test_scalars_follow_yaml_1_2(write) -> None:
    config = load_config(write("epochs: 010\nplugins: [no, on, 2024-01-01, 1:30]\nlearning_rate: 1e-5"), [], _Run)
    assert config.epochs == 10
    assert config.plugins == ("no", "on", "2024-01-01", "1:30")
    assert config.learning_rate == 1e-5


def test_base_is_merged_deep_and_relative_to_the_file(write) -> None:
    write("epochs: 9\nspacing_mm: [2, 2, 2]\nmodel: {fusion: {name: concat, hidden: 4, sizes: [7, 8]}}", "base/a.yaml")
    write("base: base/a.yaml\nepochs: 8", "b.yaml")
    config = load_config(write("base: b.yaml\nmodel: {fusion: {hidden: 5, sizes: [9]}}", "run.yaml"), [], _Run)
    assert config.epochs == 8
    assert config.spacing_mm == (2.0, 2.0, 2.0)
    assert config.model.fusion.options == {"hidden": 5, "dropout": 0.1, "sizes": (9,), "norm": "layer"}


def test_another_part_drops_the_options_of_the_former(write) -> None:
    write("epochs: 1\nmodel: {fusion: {name: concat, hidden: 4}}", "a.yaml")
    path = write("base: a.yaml\nmodel: {fusion: {name: gated}}")
    assert load_config(path, [], _Run).model.fusion == PartChoice(name="gated", options={"gate": "soft"})
    again = load_config(path, ["model.fusion.name=concat", "model.fusion.hidden=2"], _Run)
    assert again.model.fusion.options["hidden"] == 2


def test_base_cycles_and_absent_bases_are_refused(write) -> None:
    write("base: run.yaml", "a.yaml")
    assert "base leads back to itself: run.yaml -> a.yaml -> run.yaml" in refused(write("base: a.yaml"))
    assert "gone.yaml: no such file" in refused(write("base: gone.yaml"))
    assert "expected one path relative to this file" in refused(write("base: [a.yaml]"))
    assert "expected one path relative to this file" in refused(write("base: /a.yaml"))


def test_overrides_are_yaml_values_and_the_last_one_wins(write) -> None:
    path = write("epochs: 1\nmodel: {fusion: gated, others: [gated]}")
    overrides = ["epochs=2", "epochs=3", "spacing_mm=[1, 1, 4]", "model.fusion.gate=hard", "manifest=x=y.csv"]
    config = load_config(path, [*overrides, "model.others.0.gate=hard", "model.heads.new=gated"], _Run)
    assert config.epochs == 3
    assert config.spacing_mm[2] == 4.0
    assert config.manifest == Path("x=y.csv")
    assert config.model.fusion.options["gate"] == config.model.others[0].options["gate"] == "hard"
    assert config.model.heads["new"].name == "gated"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("epochs", "--set epochs: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("a..b=3", "--set a..b=3: expected key=value"),
        ("epohcs=3", "--set epohcs=3: epohcs is unknown; did you mean epochs?"),
        ("epochs.x=3", "--set epochs.x=3: epochs holds a single value"),
        ("epochs=three", '--set epochs=three: epochs is "three": input should be a valid integer'),
        ("model.fusoin.name=gated", "--set model.fusoin.name=gated: model.fusoin is unknown"),
        ("model.others.3=gated", "3 is no position in a list of 1"),
        ("epochs=[", "--set epochs=[: line 1"),
    ],
)
def test_a_wrong_override_is_named(write, override: str, expected: str) -> None:
    assert expected in refused(write("epochs: 1\nmodel: {others: [gated]}"), override)


def test_the_resolved_config_reads_back_equal(write) -> None:
    text = (
        "epochs: 1\nplugins: ['1e5', 'no', 'true', '010', '1:30', '~', 'ä']\nmodel: {fusion: {name: concat, hidden: 8}}"
    )
    config = load_config(write(text), ["learning_rate=1e-7"], _Run)
    again = load_config(write(resolved_yaml(config), "again.yaml"), [], _Run)
    assert again == config
    assert config_sha256(again) == config_sha256(config)


def test_the_hash_ignores_order_and_spelling_but_not_values(write) -> None:
    one = load_config(write("epochs: 1\nlearning_rate: 0.0001"), [], _Run)
    two = load_config(write("learning_rate: 1e-4\nepochs: 1\nmodel: {fusion: gated}", "two.yaml"), [], _Run)
    three = load_config(write("epochs: 2", "three.yaml"), [], _Run)
    assert config_sha256(one) == config_sha256(two) != config_sha256(three)
    assert len(config_sha256(one)) == 64


def test_files_that_are_no_text(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.yaml")
    assert "cannot be read" in refused(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00a")
    assert "not text in UTF-8" in refused(binary)


def test_settings_cannot_be_changed_after_loading(write) -> None:
    config = load_config(write("epochs: 1"), [], _Run)
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 2


@dataclass(frozen=True, kw_only=True)
class _Grid:
    size: int
    fusion: Annotated[PartChoice, part_model(FUSIONS)] | None = None
    allow: bool = True

    def __post_init__(self) -> None:
        if not self.allow:
            raise LabelLeakageError("grid.allow has to be true")


class _WithDataclass(Settings):
    grid: _Grid


@pytest.mark.parametrize(
    ("overrides", "kind", "expected"),
    [
        (["grid.szie=3"], ConfigError, "--set grid.szie=3: grid.szie is unknown; did you mean grid.size?"),
        (["grid.zz=3"], ConfigError, "--set grid.zz=3: grid.zz is unknown; grid takes size, fusion, allow"),
        (["grid={}"], ConfigError, "grid.size is missing"),
        (["grid.size=x"], ConfigError, 'grid.size is "x": input should be a valid integer'),
        (["grid.fusion={name: gated, gaet: hard}"], ConfigError, "did you mean grid.fusion.gate?"),
        (["grid.fusion={nmae: gated}"], ConfigError, "grid.fusion.name is missing"),
        (["grid.size=2", "grid.allow=false"], LabelLeakageError, "--set grid.allow=false: grid.allow has to be true"),
    ],
)
def test_dataclass_sections_are_checked_alike(
    write, overrides: list[str], kind: type[Exception], expected: str
) -> None:
    with pytest.raises(kind) as caught:
        load_config(write("grid: {size: 1}"), overrides, _WithDataclass)
    assert expected in str(caught.value)


def test_a_part_inside_a_dataclass_is_replaced_whole(write) -> None:
    path = write("grid: {size: 1, fusion: {name: concat, hidden: 2}}")
    grid = load_config(path, ["grid.fusion.name=gated"], _WithDataclass).grid
    assert grid.fusion == PartChoice(name="gated", options={"gate": "soft"})
