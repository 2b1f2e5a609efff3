"""The same request as code to paste: Python with `webpool.client`, curl, JavaScript with `fetch`."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from inference.core.expectations import Picture
from inference.documents import JsonObject, JsonView
from inference.models import OnnxModel
from inference.store.tensors import WireTensor, decode_array
from inference.trying.fields import Field, Kind
from inference.wire.oip.datatypes import NAMES

_USUAL_TEXT = "A browser computes."
_FILES = {Kind.PICTURE: "picture.jpg", Kind.SOUND: "sound.wav"}
_USUAL_EXTENT = 1
_MOST_WRITTEN = 1000  # values of all inputs: more are read from a file


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a person asked for, which the code asks again; what they did not say is made up.

    Attributes:
        tensors: those that were sent, where tensors were given.
        forms: by input, a picture's form in place of the model's own.
        wishes: the run's options, as `parse_options` reads them.
    """

    texts: Sequence[str] = ()
    tensors: Sequence[WireTensor] = ()
    forms: Mapping[str, Picture] = dataclasses.field(default_factory=dict)
    wishes: JsonView = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Input:
    """`values`: in C order; None: as many zeros as the shape has."""

    name: str
    dtype: str
    shape: list[int]
    values: list[object] | None

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def zero(self) -> object:
        return {"string": "", "bool": False}.get(self.dtype, 0)


def code(
    model: OnnxModel, fields: Sequence[Field], url: str, asked: Asked | None = None
) -> dict[str, str]:
    """By language; `url`: of the pool, without a slash at the end."""
    asked = asked or Asked()
    if asked.tensors or any(field.kind == Kind.TENSOR for field in fields):
        return _tensors(model, _inputs(model, fields, asked.tensors), url, _options(asked.wishes))
    return _attempt(model, fields, f"{url}/api/models/{model.name}/try/", url, asked)


def _options(wishes: JsonView) -> JsonObject:
    return {
        name: ",".join(value) if isinstance(value, tuple | list) else value
        for name, value in wishes.items()
    }


# --- what people have --------------------------------------------------------------------------


def _attempt(
    model: OnnxModel, fields: Sequence[Field], address: str, url: str, asked: Asked
) -> dict[str, str]:
    files = {field.name: _FILES[field.kind] for field in fields if field.kind in _FILES}
    texts = [] if files else [text for text in asked.texts if text] or [_USUAL_TEXT]
    forms = {name: edited for name, edited in _edited(fields, asked.forms).items() if edited}
    options = _options(asked.wishes)
    words: JsonObject = {"files": files} if files else {"texts": texts}
    words |= ({"forms": forms} if forms else {}) | options
    plain = [("text", text) for text in texts]
    plain += [
        (f"{name}.{key}", _said(one)) for name, form in forms.items() for key, one in form.items()
    ]
    plain += [(name, str(value)) for name, value in options.items()]
    # Of -F a text that begins with @ or < would name a file.
    parts = [("--form-string", f"{name}={text}") for name, text in plain]
    parts += [("-F", f"{name}=@{file}") for name, file in files.items()]
    appended = [f"{_js(name)}, {_js(text)}" for name, text in plain]
    chosen = "document.querySelectorAll('input[type=file]')"
    appended += [f"{_js(name)}, {chosen}[{at}].files[0]" for at, name in enumerate(files)]
    filled = "".join(f"form.append({one});\n" for one in appended)
    return {
        "Python": (
            "from webpool.client import Client\n\n"
            f"with Client({json.dumps(url)}) as pool:  # key=… where one is needed\n"
            f"    answer = pool.attempt({json.dumps(model.name)}{_words(words)})\n"
            '    for output in answer["outputs"]:\n'
            '        print(output["name"], output["kind"], output.get("rows") or output.get("first"))\n'
            '    print([shard["browser"] for shard in answer["shards"]], answer["took_ms"])\n'
        ),
        "curl": f"curl -s {address}"
        + "".join(f" \\\n  {option} {shlex.quote(part)}" for option, part in parts),
        "JavaScript": (
            f"const form = new FormData();\n{filled}"
            f'const response = await fetch({json.dumps(address)}, {{ method: "POST", body: form }});\n'
            "const answer = await response.json();\nconsole.log(answer.outputs, answer.shards);\n"
        ),
    }


def _edited(fields: Sequence[Field], forms: Mapping[str, Picture]) -> dict[str, JsonObject]:
    """Of each picture what is not as the model's own form has it."""
    return {
        field.name: {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in vars(forms[field.name]).items()
            if value != getattr(field.form, key)
        }
        for field in fields
        if field.name in forms
    }


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _js(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _words(words: JsonView) -> str:
    """Named arguments, each after a comma."""
    return "".join(
        f", {name}={json.dumps(value, ensure_ascii=False)}" for name, value in words.items()
    )


# --- tensors -----------------------------------------------------------------------------------


def _inputs(model: OnnxModel, fields: Sequence[Field], sent: Sequence[WireTensor]) -> list[_Input]:
    """Those that were sent, with their values as far as code can hold them; else zeros for each field."""
    if not sent:
        names = {field.name for field in fields}
        ports = [port for port in model.input_ports if port.name in names]
        return [
            _Input(
                port.name,
                port.dtype,
                [one if isinstance(one, int) else _USUAL_EXTENT for one in port.shape or ()],
                None,
            )
            for port in ports
        ]
    written = sum(math.prod(tensor.shape) for tensor in sent) <= _MOST_WRITTEN
    return [
        _Input(tensor.name, tensor.dtype, list(tensor.shape), _values(tensor) if written else None)
        for tensor in sent
    ]


def _values(tensor: WireTensor) -> list[object] | None:
    """None: there are none, or JSON cannot say them."""
    array = decode_array(tensor)
    if not array.size:
        return None
    if array.dtype.kind != "f":
        return list(array.ravel().tolist())
    if not np.isfinite(array).all():
        return None
    return [float(str(value)) for value in array.ravel()]  # the shortest that is the same float


def _tensors(
    model: OnnxModel, inputs: Sequence[_Input], url: str, options: JsonView
) -> dict[str, str]:
    address = f"{url}/v2/models/{model.name}/infer"
    arrays = "".join(f"    {json.dumps(one.name)}: {_array(one)},\n" for one in inputs)
    asked, sent, note = _body(inputs, options)
    return {
        "Python": (
            "import numpy as np\nfrom webpool.client import Client\n\n"
            f'inputs = {{  # or dict(np.load("inputs.npz"))\n{arrays}}}\n'
            f"with Client({json.dumps(url)}) as pool:  # key=… where one is needed\n"
            f"    answer = pool.infer({json.dumps(model.name)}, inputs{_words(options)})\n"
            "    for name, array in answer.items():\n        print(name, array.shape, array)\n"
            "    print(answer.browsers, answer.backends)\n"
        ),
        "curl": f"curl -s {address} -d {shlex.quote(sent)}{note}",
        "JavaScript": (
            f"const response = await fetch({json.dumps(address)}, {{\n"
            f'  method: "POST",\n  body: JSON.stringify({asked}),\n}});\n'
            "const answer = await response.json();\nconsole.log(answer.outputs, answer.parameters);\n"
        ),
    }


def _array(one: _Input) -> str:
    """numpy's call for an input."""
    kind = {"string": "object", "bool": "np.bool_"}.get(one.dtype, f"np.{one.dtype}")
    if one.values is None:
        return f"np.full({one.shape}, {one.zero!r}, {kind})"
    nested = np.array(one.values, object).reshape(one.shape).tolist()
    return f"np.array({nested!r}, {kind})"


def _body(inputs: Sequence[_Input], options: JsonView) -> tuple[str, str, str]:
    """A request as JavaScript writes it, as curl sends it, and what is to be said of that."""
    entries: list[JsonObject] = [
        {"name": one.name, "datatype": NAMES[one.dtype], "shape": one.shape} for one in inputs
    ]
    parameters = {"parameters": options} if options else {}
    if sum(one.count for one in inputs) <= _MOST_WRITTEN:
        for entry, one in zip(entries, inputs, strict=True):
            entry["data"] = [one.zero] * one.count if one.values is None else one.values
        written = json.dumps({"inputs": entries, **parameters})
        return written, written, ""
    made = [
        f'{json.dumps(entry)[:-1]}, "data": new Array({one.count}).fill({json.dumps(one.zero)})}}'
        for entry, one in zip(entries, inputs, strict=True)
    ]
    last = f', "parameters": {json.dumps(options)}' if options else ""
    return (
        f'{{"inputs": [{", ".join(made)}]{last}}}',
        "@request.json",
        "  # what JavaScript sends here",
    )
