"""Settings: where each comes from, and what is refused."""

from pathlib import Path

import pytest

from ml.config import DEFAULTS, load_config
from warehouse.errors import FunneliftError


def test_defaults_stand_alone() -> None:
    config = load_config(environment={})
    assert (config.target, config.duckdb_path, config.seed) == ("duckdb", Path("warehouse.duckdb"), 42)
    assert config.manifest == Path("target/manifest.json")


def test_command_line_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text("results: from_file\nseed: 7\nduckdb_path: file.duckdb\nsplit: {train_share: 0.6}\n")
    environment = {"FUNNELIFT_RESULTS": "from_environment", "FUNNELIFT_DUCKDB_PATH": "environment.duckdb"}
    config = load_config(file, {"results": Path("from_line"), "seed": None}, environment)
    assert config.results == Path("from_line")
    assert config.duckdb_path == Path("environment.duckdb")
    assert config.seed == 7
    assert config.split.train_share == 0.6
    assert config.split.calibration_share == 0.1


def test_the_manifest_follows_dbts_target_path() -> None:
    assert load_config(environment={"DBT_TARGET_PATH": "/x"}).manifest == Path("/x/manifest.json")


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text("sede: 1\nsplit: {train_share: 0.95}\nthreads: 0\nplanner: {power: 0.05}\n")
    with pytest.raises(FunneliftError) as failure:
        load_config(file, environment={})
    for part in ("sede", "threads", "the test split is the rest", "power must be above significance", "own.yml"):
        assert part in str(failure.value)


def test_a_setting_of_an_older_name_is_refused_with_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text("uplift: {rivals: [], rival_rows: 5}\n")
    with pytest.raises(FunneliftError) as failure:
        load_config(file, environment={})
    assert "uplift.rivals: now called uplift.challengers" in str(failure.value)
    assert "uplift.rival_rows: now called uplift.challenger_rows" in str(failure.value)


@pytest.mark.parametrize(
    ("text", "complaint"), [("a: [", "not valid YAML"), ("- 1", "must hold"), (None, "cannot read the settings file")]
)
def test_a_file_that_is_no_settings_file(tmp_path: Path, text: str | None, complaint: str) -> None:
    file = tmp_path / "own.yml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(FunneliftError, match=complaint):
        load_config(file, environment={})


def test_every_default_has_a_comment_or_a_commented_section() -> None:
    commented = False
    for line in DEFAULTS.read_text().splitlines():
        if line.startswith("#"):
            commented = True
        elif line and not line.startswith(" "):
            assert "#" in line or commented or line.endswith(":"), line
        elif not line:
            commented = False


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"seed: 1\nthreads: 2\nseed: 3\n", "'seed' stands twice"),
        (b"split: {train_share: 0.6, train_share: 0.7}\n", "'train_share' stands twice"),
        ("seed: 1 # größer".encode("latin-1"), r"is not UTF-8 .*: save it as UTF-8"),
        (b"models: {catboost: {learning_rate: .inf}}\n", r"models.catboost.learning_rate: .*finite"),
        (b"models: {xgboost: {reg_lambda: .nan}}\n", r"models.xgboost.reg_lambda: .*finite"),
        (b"ranges: [{pattern: a, low: 0, high: .inf}]\n", r"ranges.0.high: .*finite"),
        (b"models_kept: 0\n", "models_kept: Input should be greater than 0"),
    ],
)
def test_files_that_say_nothing_sensible(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "own.yml"
    file.write_bytes(content)
    with pytest.raises(FunneliftError, match=complaint):
        load_config(file, environment={})


def test_a_results_path_that_this_locale_cannot_say_is_refused_before_any_work() -> None:
    """CatBoost can write no file there, which it would say after the models are fitted."""
    with pytest.raises(FunneliftError, match=r"results: .*set LC_ALL=C.UTF-8"):
        load_config(None, {"results": Path("r\udce9sultats")}, {})
