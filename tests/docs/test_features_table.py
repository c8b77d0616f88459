"""docs/features.md: one line for each feature, with what the catalogue says of it; its example does what it shows."""

import doctest
import re
from pathlib import Path

import pytest

from trading.bars import Timeframe
from trading.features.feature_set import FeatureSet, known_features
from trading.features.spec import FeatureSpec

PATH = Path(__file__).parents[2] / "docs" / "features.md"
PAGE = PATH.read_text(encoding="utf-8")
TABLE = PAGE.split("## The features")[1].split("\n## ")[0]
LINES = {
    cells[0].strip("`"): cells
    for line in TABLE.splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def warmup(name: str, timeframe: Timeframe = Timeframe.MINUTE_1, **parameters: int) -> int:
    return FeatureSet([FeatureSpec(name=name, parameters=parameters)], timeframe).warmup_bars


def test_every_feature_has_its_line_and_every_line_its_feature() -> None:
    assert list(LINES) == list(known_features())


@pytest.mark.parametrize("name", known_features())
def test_a_line_says_what_the_catalogue_says(name: str) -> None:
    feature = known_features()[name]
    parameters = "; ".join(
        f"`{parameter.name}` = {parameter.default}, {parameter.lowest} to {parameter.highest}"
        for parameter in feature.parameters
    )
    assert LINES[name][1:] == [feature.description, feature.unit, parameters, str(warmup(name))]


def test_the_warmups_in_the_text_are_those_of_the_features() -> None:
    stated = {
        int(bars): (int(ema), int(wilder))
        for bars, ema, wilder in re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    }
    assert stated == {bars: (warmup("ema_distance", bars=bars), warmup("rsi", bars=bars)) for bars in stated}
    assert len(stated) >= 4
    assert f"{warmup('vwap_distance', Timeframe.MINUTE_5)} bars of five minutes" in PAGE


def test_the_example_does_what_it_shows() -> None:
    tried = doctest.testfile(str(PATH), module_relative=False)
    assert tried.attempted >= 8
    assert tried.failed == 0
