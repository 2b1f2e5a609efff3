"""The same request as code to paste: Python with `webpool.client`, curl, JavaScript with `fetch`."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence

from inference.core.ports import Port
from inference.models import OnnxModel
from inference.trying.fields import Field, Kind
from inference.wire.oip.datatypes import NAMES

_USUAL_TEXT = "A browser computes."
_FILES = {Kind.PICTURE: "picture.jpg", Kind.SOUND: "sound.wav"}
_USUAL_EXTENT = 1
_MOST_WRITTEN = 1000  # values of all inputs: more are read from a file


def code(
    model: OnnxModel, fields: Sequence[Field], url: str, texts: Sequence[str]
) -> dict[str, str]:
    """By language; `url`: of the pool, without a slash at the end."""
    if any(field.kind == Kind.TENSOR for field in fields):
        return _tensors(model, fields, url)
    texts = [text for text in texts if text] or [_USUAL_TEXT]
    files = {field.name: _FILES[field.kind] for field in fields if field.kind in _FILES}
    address = f"{url}/api/models/{model.name}/try/"
    # Of -F a text that begins with @ or < would name a file.
    parts = [("--form-string", f"text={text}") for text in texts] if not files else []
    parts += [("-F", f"{name}=@{file}") for name, file in files.items()]
    words = (
        f"texts={json.dumps(texts, ensure_ascii=False)}"
        if not files
        else f"files={json.dumps(files)}"
    )
    python = (
        "from webpool.client import Client\n\n"
        f"with Client({json.dumps(url)}) as pool:  # key=… where one is needed\n"
        f"    answer = pool.attempt({json.dumps(model.name)}, {words})\n"
        '    for output in answer["outputs"]:\n'
        '        print(output["name"], output["kind"], output.get("rows") or output.get("first"))\n'
        '    print([shard["browser"] for shard in answer["shards"]], answer["took_ms"])\n'
    )
    if files:
        filled = "".join(
            f"form.append({json.dumps(name)}, document.querySelector('input[type=file]').files[0]);\n"
            for name in files
        )
    else:
        filled = "".join(
            f'form.append("text", {json.dumps(text, ensure_ascii=False)});\n' for text in texts
        )
    return {
        "Python": python,
        "curl": f"curl -s {address}"
        + "".join(f" \\\n  {option} {shlex.quote(part)}" for option, part in parts),
        "JavaScript": (
            f"const form = new FormData();\n{filled}"
            f'const response = await fetch({json.dumps(address)}, {{ method: "POST", body: form }});\n'
            "const answer = await response.json();\nconsole.log(answer.outputs, answer.shards);\n"
        ),
    }


def _tensors(model: OnnxModel, fields: Sequence[Field], url: str) -> dict[str, str]:
    names = {field.name for field in fields}
    ports = [port for port in model.input_ports if port.name in names]
    address = f"{url}/v2/models/{model.name}/infer"
    arrays = "".join(f"    {json.dumps(port.name)}: {_full(port)},\n" for port in ports)
    asked, sent, note = _body(ports)
    return {
        "Python": (
            "import numpy as np\nfrom webpool.client import Client\n\n"
            f'inputs = {{  # or dict(np.load("inputs.npz"))\n{arrays}}}\n'
            f"with Client({json.dumps(url)}) as pool:  # key=… where one is needed\n"
            f"    answer = pool.infer({json.dumps(model.name)}, inputs)\n"
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


def _shape(port: Port) -> list[int]:
    return [one if isinstance(one, int) else _USUAL_EXTENT for one in port.shape or ()]


def _zero(port: Port) -> object:
    return {"string": "", "bool": False}.get(port.dtype, 0)


def _full(port: Port) -> str:
    """numpy's call for an input of zeros."""
    kind = {"string": "object", "bool": "np.bool_"}.get(port.dtype, f"np.{port.dtype}")
    return f"np.full({_shape(port)}, {_zero(port)!r}, {kind})"


def _body(ports: Sequence[Port]) -> tuple[str, str, str]:
    """A request as JavaScript writes it, as curl sends it, and what is to be said of that."""
    counts = [math.prod(_shape(port)) for port in ports]
    entries = [
        {"name": port.name, "datatype": NAMES[port.dtype], "shape": _shape(port)} for port in ports
    ]
    if sum(counts) <= _MOST_WRITTEN:
        for entry, port, count in zip(entries, ports, counts, strict=True):
            entry["data"] = [_zero(port)] * count
        written = json.dumps({"inputs": entries})
        return written, written, ""
    made = [
        f'{json.dumps(entry)[:-1]}, "data": new Array({count}).fill({json.dumps(_zero(port))})}}'
        for entry, port, count in zip(entries, ports, counts, strict=True)
    ]
    return f'{{"inputs": [{", ".join(made)}]}}', "@request.json", "  # what JavaScript sends here"
