"""Each request, and how its answer is read: no connection in it, so that it serves threads and asyncio."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypedDict, TypeVar
from urllib.parse import quote

import httpx2

from . import tensors
from .answers import Answer, Comparison, Model, Run
from .errors import Busy, NotFound, PoolError, Unauthorised
from .tensors import Array, JsonObject

T = TypeVar("T")
PAGE = 1000
LONGEST_WAIT_S = 20.0
"""How long one request waits for the end of a run; longer waits are several."""


class Options(TypedDict, total=False):
    """How and where a run goes; what each does, and what follows where it is left out: docs/api.md."""

    strategy: str
    shards: int
    data_parallel: int
    allow_unproved_split: bool
    platform: str
    browsers: str
    pins: str
    strict: bool
    critical: bool
    redundancy: str
    max_retries: int
    deadline_s: float


class Wishes(TypedDict, total=False):
    """How and where a model is tried.

    `forms`: by input, what of a picture's form is other than declared: {"pixels": {"mean": [0.5]}}.
    """

    browsers: str
    platform: str
    strategy: str
    shards: int
    forms: Mapping[str, Mapping[str, object]]


class Compared(TypedDict, total=False):
    """What a comparison is of. Names may also come as one text, by comma; None is the same as left out.

    Inputs are random ones (`rows`, `seed`), unless `inputs` or `known_answer` is given.
    """

    browsers: Sequence[str]
    backends: Sequence[str]
    strategies: Sequence[str]
    rows: int | None
    runs: int | None
    seed: int | None
    inputs: Mapping[str, Array] | None
    known_answer: bool
    strict: bool


@dataclasses.dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what makes its result of the response."""

    method: str
    path: str
    read: Callable[[httpx2.Response], T]
    params: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    content: bytes | None = None

    def result(self, response: httpx2.Response) -> T:
        """Raises PoolError: the pool refused or failed, or what answers there is no pool."""
        if response.status_code >= 300:
            raise _error(response)
        try:
            return self.read(response)
        except (ValueError, KeyError, TypeError) as error:
            raise PoolError(
                f"{self.method} {response.url}: expected a pool's answer, got {response.text[:200]!r}; is "
                "this the address of a pool of this version?",
                status=response.status_code,
            ) from error


def _error(response: httpx2.Response) -> PoolError:
    status = response.status_code
    try:
        told: JsonObject = response.json()
        message, category, run = told["error"], told["category"], told.get("run")
    except (ValueError, KeyError, TypeError):
        message, category, run = f"HTTP {status}: {response.text[:200]!r}", "", None
    if status == 429:
        return Busy(message, retry_after_s=_retry_after_s(response), category=category)
    kind = {401: Unauthorised, 403: Unauthorised, 404: NotFound}.get(status, PoolError)
    return kind(message, status=status, category=category, run=run)


def _retry_after_s(response: httpx2.Response) -> float:
    """As the pool says; a second where a proxy between says a date, or nothing."""
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else 1.0


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


_SENDS_JSON = {"Content-Type": "application/json"}


def ready() -> Call[bool]:
    return Call("GET", "/v2/health/ready", lambda response: bool(response.json()["ready"]))


def infer(model: str, inputs: Mapping[str, Array], options: Options) -> Call[Answer]:
    entries, blobs = tensors.written(inputs)
    parameters: JsonObject = {**options, "binary_data_output": True}
    header = _json({"inputs": entries, "parameters": parameters})
    return Call(
        "POST",
        f"/v2/models/{quote(model, safe='')}/infer",
        _answer,
        headers={
            "Content-Type": "application/octet-stream",
            tensors.HEADER_LENGTH: str(len(header)),
        },
        content=header + blobs,
    )


def _answer(response: httpx2.Response) -> Answer:
    header, outputs = tensors.read(response.content, response.headers.get(tensors.HEADER_LENGTH))
    told = header["parameters"]

    def names(key: str) -> tuple[str, ...]:
        return tuple(filter(None, told.get(key, "").split(",")))

    return Answer(outputs, told["run"], names("browsers"), names("backends"), told)


def start(
    model: str,
    inputs: Mapping[str, Array] | None,
    texts: Sequence[str] | None,
    options: Options,
    wait_s: float,
) -> Call[Run]:
    given: JsonObject = {"model": model, **options}
    if texts is not None:
        given["texts"] = list(texts)
    if inputs is not None:
        given["inputs"] = tensors.in_json(inputs)
    return Call(
        "POST",
        "/api/runs/",
        _run,
        params={"wait": wait_s},
        headers=_SENDS_JSON,
        content=_json(given),
    )


def run(run_id: str, wait_s: float = 0.0) -> Call[Run]:
    return Call("GET", f"/api/runs/{quote(run_id, safe='')}/", _run, params={"wait": wait_s})


def cancel(run_id: str) -> Call[Run]:
    return Call("POST", f"/api/runs/{quote(run_id, safe='')}/cancel/", _run)


def outputs(run_id: str) -> Call[Answer]:
    binary = {"Accept": "application/octet-stream"}
    return Call("GET", f"/api/runs/{quote(run_id, safe='')}/outputs/", _answer, headers=binary)


def _run(response: httpx2.Response) -> Run:
    told: JsonObject = response.json()
    return Run(
        told["id"], told["model"], told["state"], told["error"], told["error_category"],
        told["metrics"], told,
    )  # fmt: skip


def attempt(
    model: str, texts: Sequence[str], files: Mapping[str, Path | str], wishes: Wishes
) -> Call[JsonObject]:
    if not texts and not files:
        raise TypeError("expected texts, or files by input")
    plain: JsonObject = {**wishes}
    for name, form in plain.pop("forms", {}).items():
        plain |= {f"{name}.{key}": value for key, value in form.items()}
    parts: list[tuple[str, tuple[str | None, bytes]]]
    parts = [("text", (None, text.encode())) for text in texts]
    parts += [(name, (None, _plain(value).encode())) for name, value in plain.items()]
    parts += [(name, (Path(file).name, Path(file).read_bytes())) for name, file in files.items()]
    form = httpx2.Request("POST", "http://form/", files=parts)
    return Call(
        "POST",
        f"/api/models/{quote(model, safe='')}/try/",
        lambda response: dict(response.json()),
        headers={"Content-Type": form.headers["Content-Type"]},
        content=form.read(),
    )


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def models(offset: int) -> Call[tuple[list[Model], bool]]:
    """A page of them, and whether there are more."""

    def read(response: httpx2.Response) -> tuple[list[Model], bool]:
        page: JsonObject = response.json()
        return [_model(told) for told in page["results"]], page["next"] is not None

    return Call("GET", "/api/models/", read, params={"limit": PAGE, "offset": offset})


def model(name: str) -> Call[Model]:
    path = f"/api/models/{quote(name, safe='')}/"
    return Call("GET", path, lambda response: _model(response.json()))


def _model(told: JsonObject) -> Model:
    return Model(
        told["name"], told["model_type"], told["sha256"], told["inputs"], told["outputs"], told
    )


def compare(model: str, compared: Compared) -> Call[Comparison]:
    asked: JsonObject = {name: value for name, value in compared.items() if value is not None}
    for name in {"browsers", "backends", "strategies"} & asked.keys():
        names = asked[name]
        asked[name] = names.split(",") if isinstance(names, str) else list(names)
    if "inputs" in asked:
        asked["inputs"] = tensors.in_json(asked["inputs"])
    asked["model"] = model
    return Call("POST", "/api/comparisons/", _comparison, headers=_SENDS_JSON, content=_json(asked))


def comparison(comparison_id: str) -> Call[Comparison]:
    return Call("GET", _comparison_path(comparison_id), _comparison)


def comparison_as(comparison_id: str, kind: str) -> Call[str]:
    return Call(
        "GET", _comparison_path(comparison_id), lambda response: response.text, {"format": kind}
    )


def _comparison_path(comparison_id: str) -> str:
    return f"/api/comparisons/{quote(comparison_id, safe='')}/"


def _comparison(response: httpx2.Response) -> Comparison:
    told: JsonObject = response.json()
    return Comparison(told["id"], told["model"], told["state"], told["said"], told["cells"], told)
