"""The house as docs/architecture.md tells it: its rooms, how much a room holds, the way of a request."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import grimp
import pytest

from inference.scheduling.dispatch import RUN_SHARD

ROOT = Path(__file__).parents[2]
APPS = ("webpool_site", "inference", "browsers", "history")
TOLD = (ROOT / "docs" / "architecture.md").read_text()
MOST_MODULES = 18
MOST_LINES = 400
MOST_STATIONS = 15
MOST_ANY = 150


def folders() -> dict[str, int]:
    """Each package, as `inference/store/`, with the number of its own modules; migrations left out."""
    return {
        f"{init.parent.relative_to(ROOT).as_posix()}/": len(list(init.parent.glob("*.py"))) - 1
        for app in APPS
        for init in (ROOT / app).rglob("__init__.py")
        if init.parent.name != "migrations"
    }


def lengths() -> dict[str, int]:
    """How many lines each file of the product has, and each of its tests; what is generated is left out."""
    ends = {".py", ".js", ".css", ".html"}
    files = (each for app in (*APPS, "tests") for each in (ROOT / app).rglob("*.*"))
    return {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in files
        if path.suffix in ends and not {"migrations", "fixtures", "third_party"} & set(path.parts)
    }


def rooms() -> dict[str, str]:
    """What the tables say may enter each folder."""
    return dict(re.findall(r"^\| `([a-z_/]+/)` \| (.+) \|$", TOLD, re.MULTILINE))


def stations() -> list[str]:
    """The modules that a `/v2` request passes, in order."""
    way = TOLD.split("## The way of a `/v2` request")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. `([a-z_.0-9]+)`", way, re.MULTILINE)


def untyped() -> Counter[str]:
    """How often each module of inference/ says `Any`."""
    files = (ROOT / "inference").rglob("*.py")
    found = {path: len(re.findall(r"\bAny\b", path.read_text())) for path in files}
    return Counter({str(path.relative_to(ROOT)): many for path, many in found.items() if many})


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Every import of the product, those inside functions included."""
    return grimp.build_graph(*APPS, cache_dir=None)


def test_no_folder_holds_more_modules_than_one_look_takes_in() -> None:
    crowded = {folder: count for folder, count in folders().items() if count > MOST_MODULES}
    assert not crowded, (
        f"more than {MOST_MODULES} modules: {crowded}; give some a room of their own"
    )


def test_no_file_is_longer_than_one_sitting_reads() -> None:
    long = {path: lines for path, lines in lengths().items() if lines > MOST_LINES}
    assert not long, f"more than {MOST_LINES} lines: {long}; give an idea of them a file of its own"


def test_any_stays_rare() -> None:
    found = untyped()
    worst = ", ".join(f"{path} {many}" for path, many in found.most_common(8))
    assert found.total() <= MOST_ANY, (
        f"{found.total()} times `Any` in inference/, at most {MOST_ANY}; the most: {worst}"
    )


def test_the_architecture_says_of_each_folder_what_may_enter_it() -> None:
    untold = sorted(folders().keys() - rooms().keys())
    assert not untold, f"docs/architecture.md has no row for {untold}"


def test_the_architecture_names_no_folder_that_is_not_there() -> None:
    gone = [folder for folder in rooms() if not (ROOT / folder).is_dir()]
    assert not gone, f"docs/architecture.md tells of {gone}, which are gone"


def test_the_layers_of_inference_are_told_as_they_are_checked() -> None:
    config = (ROOT / "pyproject.toml").read_text()
    contract = config.split('containers = ["inference"]')[1].split("]")[0]
    checked = re.findall(r'^ *"(.+)",$', contract, re.MULTILINE)
    told = TOLD.split("### `inference/`, from the top down\n")[1].split("\n| folder")[0]
    assert [line.strip() for line in told.splitlines() if line.strip()] == checked


def test_the_way_of_a_request_is_told_in_few_stations() -> None:
    assert 2 <= len(stations()) <= MOST_STATIONS
    assert len(set(stations())) == len(stations())


def test_each_station_of_a_request_is_reached_from_one_before_it(
    imports: grimp.ImportGraph,
) -> None:
    way = stations()
    named_by_message = RUN_SHARD.rpartition(".")[0]
    for position, station in enumerate(way):
        assert station in imports.modules, f"station {position + 1}: no module {station}"
        if position == 0 or station == named_by_message:
            continue
        importers = imports.find_modules_that_directly_import(station)
        assert importers & set(way[:position]), f"{station}: no station before it imports it"
