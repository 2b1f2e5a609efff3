"""Commands given what cannot be: one line that says so, exit code 2, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from inference.conversion import rows
from inference.models import ApiKey, OnnxModel
from inference.models.batches import BatchJob
from inference.runs.inputs import read_input_file

pytestmark = pytest.mark.usefixtures("clean")

NO_TEXT = b"\xff\xfe".decode(
    errors="surrogateescape"
)  # as the system gives bytes that are no UTF-8
BOM = b"\xef\xbb\xbf"


def refusal(*words: str) -> str:
    with pytest.raises(CommandError) as raised:
        call_command(*words)
    assert raised.value.returncode == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    "words",
    [
        ["infer", NO_TEXT, "--text", "a"], ["run_batch", NO_TEXT, "--input", "x.jsonl"],
        ["plan", NO_TEXT], ["models", NO_TEXT, "--remove"], ["generate", NO_TEXT, "--prompt", "a"],
        ["generate", "writer", "--prompt", NO_TEXT],
        ["generate", "writer", "--prompt", "a", "--stop", NO_TEXT],
        ["browsers", NO_TEXT, "--quarantine"], ["drain", NO_TEXT], ["drain", "a", "--reason", NO_TEXT],
        ["api_keys", "--revoke", NO_TEXT], ["create_api_key", NO_TEXT], ["regret", "--model", NO_TEXT],
        ["recommend", "--type", "text", "--model", NO_TEXT], ["compare", NO_TEXT],
    ],
)  # fmt: skip
def test_bytes_that_are_no_text(words: list[str]) -> None:
    assert "expected text in UTF-8" in refusal(*words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs", "--limit", "9" * 30], "--limit"),
        (["create_api_key", "k", "--requests-per-minute", "9" * 30], "--requests-per-minute"),
        (["create_api_key", "a\nb"], "can be printed"),
        (["regret", "--days", "nan"], "--days"),
        (["regret", "--days", "1e300"], "--days"),
        (["fire", "--every", "nan"], "--every"),
        (["plan", "--outline", "llama-7b", "--pool", "chrome:" + "9" * 30], "pool"),
        (["plan", "--outline", "llama-7b", "--pool", "chrome:999,firefox:2"], "at most 1000"),
        (["plan", "--outline", "llama-7b", "--pool", "chrome@" + "9" * 400], "pool"),
    ],
)
def test_numbers_that_cannot_be(words: list[str], said: str) -> None:
    assert said in refusal(*words)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("given", ["0", "-1", "9" * 30])
def test_a_batch_that_cannot_be_is_not_planned(asked_model: OnnxModel, given: str) -> None:
    said = refusal("plan", asked_model.name, "--strategy", "auto", "--rows", given)
    assert "--rows" in said


@pytest.mark.parametrize("place", ["none/x", "there", "x" * 250])
@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["infer", "m", "--text", "a"], "--output"),
        (["run_batch", "m", "--input", "x.jsonl"], "--output"),
        (["compare", "m"], "--html"),
        (["compare", "m"], "--junit"),
        (["validate_faults"], "--json"),
        (["fire"], "--json"),
        (["bench"], "--output"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused_before_anything_runs(
    tmp_path: Path, words: list[str], flag: str, place: str
) -> None:
    ending = ".jsonl" if words[0] == "run_batch" else ""
    (tmp_path / f"there{ending}").mkdir()
    said = refusal(*words, flag, str(tmp_path / (place + ending)))
    assert said.startswith(f"{flag} {tmp_path}")
    assert not BatchJob.objects.exists()
    assert [each.name for each in tmp_path.iterdir()] == [f"there{ending}"]


@pytest.mark.parametrize("words", [["infer", "m"], ["run_batch", "m"]])
def test_what_is_read_is_not_written_over(tmp_path: Path, words: list[str]) -> None:
    given = tmp_path / "x.jsonl"
    given.write_text("{}\n")
    (tmp_path / "same.jsonl").symlink_to(given)
    for place in ("x.jsonl", "same.jsonl"):
        said = refusal(*words, "--input", str(given), "--output", str(tmp_path / place))
        assert "this is the input itself" in said
    assert given.read_text() == "{}\n"


@pytest.mark.parametrize("command", ["fire", "validate_faults"])
def test_browsers_that_nobody_has_are_not_hurt(command: str) -> None:
    assert refusal(command, "--browsers", "netscape").startswith(
        "unknown browser 'netscape': expected"
    )


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    said = refusal("add_model", str(tmp_path / ("x" * 300 + ".onnx")))
    assert "too long" in said


@pytest.mark.parametrize("given", [".", "/", "..", ""])
def test_a_path_without_a_name_is_named_all_the_same(asked_model: OnnxModel, given: str) -> None:
    place = str(Path(given))
    for words in (
        ["add_model"], ["import_history"], ["import_history", "--format", "csv"],
        ["import_history", "--format", "json"], ["import_history", "--format", "parquet"],
        ["export_history", "--format", "csv"], ["infer", asked_model.name, "--input"],
        ["compare", asked_model.name, "--input"], ["run_batch", asked_model.name, "--input"],
    ):  # fmt: skip
        said = refusal(*words, given)
        assert said.startswith((f"{place}: ", f"{place} ")), said


def test_an_export_that_duckdb_could_not_write(tmp_path: Path) -> None:
    assert "expected text" in refusal("export_history", str(tmp_path / f"{NO_TEXT}.json"))
    assert "is a folder" in refusal("export_history", str(tmp_path), "--format", "json")


def test_files_that_an_editor_has_marked(tmp_path: Path) -> None:
    (tmp_path / "a.JSON").write_bytes(BOM + b'{"x": [1]}')
    assert read_input_file(tmp_path / "a.JSON") == {"x": [1]}
    row = rows.from_line(BOM + b'{"text": "a"}', {}, {"megabytes": 1, "values": 9})
    assert (row.error, row.others) == ("", {"text": "a"})
