"""Every declared option at every door that takes it: good values arrive, bad ones get one text everywhere."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client

from inference.batches import engine, jobs
from inference.batches.options import JOB_OPTIONS
from inference.catalog.plans import clear_cache
from inference.client.bridge import options_of as preferences
from inference.client.manager import ModelShardingManager
from inference.errors import InvalidRequest
from inference.management.commands import run_batch
from inference.models import OnnxModel, Run
from inference.models.batches import Batch, BatchJob
from inference.runs.option_kinds import (
    Choice,
    Flag,
    Kind,
    Microseconds,
    Names,
    Pins,
    Seconds,
    Whole,
)
from inference.runs.options import OPTIONS, Door, Option, options_of
from inference.runs.requests import RunRequest
from inference.views.open_inference import open_inference
from tests.support.batches import chain_model, rows, write_jsonl
from tests.support.ledger import publish

pytestmark = pytest.mark.usefixtures("clean")
ROOT = Path(__file__).parents[2]
API = (ROOT / "docs" / "api.md").read_text()
EVERY = (*OPTIONS, *JOB_OPTIONS)
BAD: dict[type[Kind], Any] = {
    Choice: "x" * 200, Whole: 20_000, Seconds: -1.5, Microseconds: 0, Flag: "maybe", Names: 7, Pins: "0:a",
}  # fmt: skip
# The whole model, unless the option itself says otherwise, and a deadline that has passed: nobody waits.
BESIDES = {"strategy": "none", "deadline_s": 1e-6}
GOOD: dict[str, Any] = {
    "strategy": "layer", "shards": 1, "data_parallel": 1, "allow_unproved_split": True, "browsers": ["a"],
    "platform": "wasm", "pins": {"0": "a"}, "strict": True, "critical": True, "redundancy": "compare",
    "max_retries": 7, "deadline_s": 1e-3, "timeout": 1000, "batch_size": 2, "concurrency": 3, "again": True,
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Iterator[OnnxModel]:
    """With two browsers that could run it."""
    made = chain_model(tmp_path, f"options-{uuid.uuid4().hex[:8]}")
    publish("a")
    publish("b")
    yield made
    Run.objects.filter(model=made).delete()
    made.delete()
    clear_cache()


def written(value: Any) -> str:
    """A value as a form has it."""
    return ",".join(value) if isinstance(value, list) else str(value)


def arguments(given: Mapping[str, Any]) -> list[str]:
    """Options as a command line has them."""
    words = []
    for option in EVERY:
        if (value := given.get(option.name)) is None:
            continue
        if isinstance(value, dict):
            value = [f"{shard}={where}" for shard, where in value.items()]
        flag = option.command_flag
        words += [flag] if value is True else [f"{flag}={written(value)}"]
    return words


def v2(model: OnnxModel, given: Mapping[str, Any]) -> str:
    x = rows(2)
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    flat = {
        name: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        for name, value in given.items()
    }
    flat = {k: written(v) if isinstance(v, list) else v for k, v in flat.items()}
    sent: list[Any] = []

    async def call() -> None:
        incoming: asyncio.Queue[Any] = asyncio.Queue()
        body = json.dumps({"inputs": [tensor], "parameters": flat}).encode()
        incoming.put_nowait({"type": "http.request", "body": body})

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": f"/v2/models/{model.name}/infer", "query_string": b"",
            "scheme": "http", "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1), "server": None,
        }  # fmt: skip
        await open_inference(scope, incoming.get, send)

    asyncio.run(call())
    return str(json.loads(sent[1]["body"]).get("error", ""))


def rest(path: str, document: dict[str, Any]) -> str:
    answer = Client(headers={"host": "localhost"}).post(path, document, "application/json")
    return str(answer.json().get("error", "")) if answer.status_code >= 400 else ""


def runs(model: OnnxModel, given: Mapping[str, Any]) -> str:
    return rest("/api/runs/", {"model": model.name, "inputs": {"x": rows(2).tolist()}, **given})


def plans(model: OnnxModel, given: Mapping[str, Any]) -> str:
    return rest("/api/plans/", {"model": model.name, **given})


def attempt(model: OnnxModel, given: Mapping[str, Any]) -> str:
    form = {name: written(value) for name, value in given.items()}
    tensors = json.dumps({"x": rows(2).tolist()})
    path = f"/api/models/{model.name}/try/"
    answer = Client(headers={"host": "localhost"}).post(path, {"tensors": tensors, **form})
    return str(answer.json().get("error", "")) if answer.status_code >= 400 else ""


def command(*words: str) -> str:
    try:
        call_command(*words)
    except CommandError as error:
        assert error.returncode in (1, 2), error  # a run that failed, or a refusal
        return str(error)
    return ""


def infer(model: OnnxModel, given: Mapping[str, Any], folder: Path) -> str:
    np.savez(folder / "x.npz", x=rows(2))
    return command("infer", model.name, f"--input={folder / 'x.npz'}", *arguments(given))


def plan(model: OnnxModel, given: Mapping[str, Any]) -> str:
    return command("plan", model.name, *arguments(given))


def batch_file(folder: Path) -> Path:
    return write_jsonl(folder / "in.jsonl", rows(2))


def batch_upload(model: OnnxModel, given: Mapping[str, Any], folder: Path) -> str:
    form = {name: written(value) for name, value in given.items()}
    with batch_file(folder).open("rb") as file:
        answer = Client(headers={"host": "localhost"}).post(
            "/api/batches/", {"model": model.name, "file": file, **form}
        )
    return str(answer.json().get("error", ""))


def batch_command(model: OnnxModel, given: Mapping[str, Any], folder: Path) -> str:
    """As the command, up to where it would follow the job."""
    words = [model.name, f"--input={batch_file(folder)}", *arguments(given)]
    told = run_batch.Command().create_parser("manage.py", "run_batch").parse_args(words)
    try:
        jobs.create_job(run_batch.request_of(vars(told)))
    except InvalidRequest as error:
        return str(error)
    return ""


def admin_form(model: OnnxModel, given: Mapping[str, Any], folder: Path, staff: Client) -> str:
    file = SimpleUploadedFile("in.jsonl", batch_file(folder).read_bytes())
    form = {name: written(value) for name, value in given.items()}
    answer = staff.post("/admin/inference/batchjob/add/", {"model": model.pk, "file": file, **form})
    if answer.status_code == 302:
        return ""
    errors = answer.context["adminform"].form.errors
    return "; ".join(text for texts in errors.values() for text in texts)


def python(read: Callable[[], Any]) -> str:
    try:
        read()
    except InvalidRequest as error:
        return str(error)
    return ""


Ask = Callable[[OnnxModel, Mapping[str, Any]], str]


@pytest.fixture
def doors(tmp_path: Path, staff: Client) -> dict[str, tuple[Door, Ask]]:
    """How each door is asked; it answers with its refusal, or with nothing."""
    return {
        "/v2/": (Door.V2, v2),
        "POST /api/runs/": (Door.RUNS, runs),
        "infer": (Door.INFER, lambda m, given: infer(m, given, tmp_path)),
        "run_batch": (Door.JOBS, lambda m, given: batch_command(m, given, tmp_path)),
        "POST /api/batches/": (Door.JOBS, lambda m, given: batch_upload(m, given, tmp_path)),
        "admin": (Door.JOBS, lambda m, given: admin_form(m, given, tmp_path, staff)),
        "plan": (Door.PLANS, plan),
        "POST …/try/": (Door.TRY, attempt),
        "POST /api/plans/": (Door.PLANS, plans),
        "get_model": (Door.PREFERENCES, lambda m, given: python(lambda: preferences(given))),
        "ModelShardingManager": (
            Door.MANAGER,
            lambda m, given: python(lambda: ModelShardingManager(m.name, **as_manager(given))),
        ),
    }


def as_manager(given: Mapping[str, Any]) -> dict[str, Any]:
    called = {"strategy": "shard_type", "shards": "num_shards"}
    return {called.get(name, name): value for name, value in given.items()}


DOORS = (
    "/v2/", "POST /api/runs/", "infer", "run_batch", "POST /api/batches/", "admin", "plan",
    "POST /api/plans/", "POST …/try/", "get_model", "ModelShardingManager",
)  # fmt: skip


# Their options are listed to whoever uses them: no other name can be sent, or it is a part of theirs.
LISTED = ("infer", "run_batch", "plan", "admin", "POST …/try/")


def taken(door: Door) -> list[Option]:
    return options_of(door, EVERY)


@pytest.mark.parametrize("name", DOORS)
def test_a_bad_value_is_refused_in_the_same_words_at_every_door(
    doors: dict[str, tuple[Door, Ask]], model: OnnxModel, name: str
) -> None:
    door, ask = doors[name]
    for option in taken(door):
        bad = BAD[type(option.kind)]
        if isinstance(option.kind, Flag) and name in LISTED:
            continue  # there it is given or not
        if isinstance(option.kind, Names) and door.takes_text:
            continue  # any text is names
        said = ask(model, {option.name: bad})
        assert f"{option.name}: expected {option.kind.expected}, got {bad!r:.100}" in said, name
    assert not Run.objects.filter(model=model).exists()
    assert not BatchJob.objects.filter(model=model).exists()


@pytest.mark.parametrize("name", [name for name in DOORS if name not in LISTED])
def test_a_door_refuses_an_option_that_it_does_not_take(
    doors: dict[str, tuple[Door, Ask]], model: OnnxModel, name: str
) -> None:
    _, ask = doors[name]
    assert "unknown parameter speed; expected strategy, shards" in ask(model, {"speed": 1})


@pytest.mark.parametrize("name", ["/v2/", "POST /api/runs/", "infer"])
def test_a_run_is_asked_for_as_the_door_was(
    doors: dict[str, tuple[Door, Ask]], model: OnnxModel, name: str
) -> None:
    door, ask = doors[name]
    for option in taken(door):
        given = {**BESIDES, option.name: GOOD[option.name]}
        if option.name == "timeout":
            del given["deadline_s"]
        elif option.name in ("shards", "data_parallel"):
            given["strategy"] = "layer"
        ask(model, given)
        (run,) = Run.objects.filter(model=model).select_related("plan")
        assert kept(run, option) == GOOD[option.name], option.name
        run.delete()


def kept(run: Run, option: Option) -> Any:
    """What a run's rows say of an option."""
    match option.name:
        case "strategy" | "data_parallel":
            return getattr(run.plan, option.name)
        case "shards":
            return run.plan.num_shards
        case "allow_unproved_split":
            return True  # it changes what is refused, and is not written down
        case "deadline_s" | "timeout":
            soon = run.deadline_at - run.created_at <= timedelta(milliseconds=1)
            return GOOD[option.name] if soon else run.deadline_at
    return getattr(run, option.name)


@pytest.mark.parametrize("name", ["run_batch", "POST /api/batches/", "admin"])
def test_a_job_keeps_what_its_runs_are_asked_for(
    doors: dict[str, tuple[Door, Ask]], model: OnnxModel, name: str
) -> None:
    door, ask = doors[name]
    for option in taken(door):
        assert ask(model, {option.name: GOOD[option.name]}) == "", option.name
        (job,) = BatchJob.objects.filter(model=model)
        if option in OPTIONS:
            assert job.options == {option.name: GOOD[option.name]}, name
            request = engine.request_of(job, Batch(job=job, index=0), {})
            assert getattr(request, option.name) == option.read(GOOD[option.name])
        elif option.name != "again":
            assert getattr(job, option.name) == GOOD[option.name]
        job.delete()


@pytest.mark.parametrize("name", ["plan", "POST /api/plans/", "get_model", "ModelShardingManager"])
def test_the_other_doors_take_every_option(
    doors: dict[str, tuple[Door, Ask]], model: OnnxModel, name: str
) -> None:
    door, ask = doors[name]
    for option in taken(door):
        given = {option.name: GOOD[option.name]}
        assert ask(model, given) == "", option.name
        if name == "ModelShardingManager":
            manager = ModelShardingManager(model.name, **as_manager(given))
            request = manager.request({"x": rows(2)})
            assert getattr(request, option.target) == option.read(GOOD[option.name])


def test_every_option_is_a_field_of_the_request() -> None:
    fields = RunRequest.__dataclass_fields__
    assert [option.name for option in OPTIONS if option.target not in fields] == []


@pytest.mark.parametrize(
    ("component", "door", "own"),
    [
        ("RunRequest", Door.RUNS, {"model", "inputs", "texts"}),
        ("BatchUpload", Door.JOBS, {"model", "file"}),
        ("PlanRequest", Door.PLANS, {"model"}),
    ],
)
def test_the_published_schema_has_the_options(component: str, door: Door, own: set[str]) -> None:
    answer = Client(headers={"host": "localhost"}).get("/api/schema/?format=json")
    schema = json.loads(answer.content)["components"]["schemas"]
    shown = schema[component]["properties"]
    assert set(shown) == own | {option.name for option in taken(door)}
    for option in taken(door):
        assert shown[option.name]["description"].startswith(option.help)
        if isinstance(option.kind, Whole):
            bounds = (shown[option.name]["minimum"], shown[option.name]["maximum"])
            assert bounds == (option.kind.least, option.kind.most)


def test_the_documentation_has_a_row_for_each_parameter() -> None:
    table = API.split("Parameters of a request (an unknown one is refused):")[1].split("\n\n")[1]
    documented = [
        name.strip("` ")
        for row in table.splitlines()[2:]
        for name in row.split("|")[1].split(" or ")
    ]
    assert sorted(documented) == sorted(
        ["binary_data_output", *(option.name for option in taken(Door.V2))]
    )
    for option in taken(Door.V2):
        if isinstance(option.kind, Choice):
            (row,) = [row for row in table.splitlines() if row.startswith(f"| `{option.name}`")]
            assert [value for value in option.kind.values if f"`{value}`" not in row] == []


def test_the_documentation_names_every_field_of_a_job() -> None:
    paragraph = API.split("Fields besides `model` and `file`:")[1].split("\n\n")[0]
    assert [option.name for option in taken(Door.JOBS) if f"`{option.name}`" not in paragraph] == []
