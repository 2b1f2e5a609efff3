"""Bodies that are nearly right: Hypothesis takes one that is, and breaks it in a few places."""

from __future__ import annotations

import copy
import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.support.hostile import HUGE, body_of

DEEP = "@deep@"  # replaced by more brackets than any reader's stack has room for
_DEEP = b"[" * 50_000 + b"]" * 50_000
WORDS = st.sampled_from((
    "", "x", "\ud800", "\udfff\ud800", "a\0b", "__proto__", "constructor", "n" * 255, "ä" * 130, "a" * 5000,
    "1e400", "nan", "½", "../..", "%00", "true", "-0", "\r\nX: y", "<|start|>", "{{ 7*7 }}", "\u202e", "😀",
    "__init__", "user", "wasm", "BYTES", "INT64",
))  # fmt: skip
NUMBERS = st.sampled_from((
    0, 1, -1, 2, 255, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400,
    -(10**400), 0.5, -0.0, 1e-320, 1e39, 1.7e308, float("nan"), float("inf"), float("-inf"),
))  # fmt: skip
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=4))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)
# What is refused before anything else is read comes seldom.
_UNREADABLE = st.sampled_from((*[False] * 15, True))
_ENCODINGS = (*[""] * 20, "gzip", "deflate", "br", "gzip, gzip", "\xff")


@st.composite
def edited(draw: st.DrawFn, right: Any, keys: tuple[str, ...] = ()) -> Any:
    """`right` with one to three edits anywhere in it; `keys`: fields that may come into its objects."""
    document = copy.deepcopy(right)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("set", "set", "set", "drop", "wrap", "add", "many"))):
            case "set":
                unreadable = st.sampled_from((HUGE, DEEP))
                holder[key] = draw(unreadable if draw(_UNREADABLE) else VALUES)
            case "drop":
                del holder[key]
            case "wrap":
                holder[key] = [holder[key]]
            case "many":
                holder[key] = [holder[key]] * draw(st.sampled_from((2, 33, 150, 1000)))
            case "add" if isinstance(holder, dict):
                name = draw(st.one_of(WORDS, st.sampled_from(keys)) if keys else WORDS)
                holder[name] = draw(VALUES)
            case "add":
                holder.insert(0, draw(VALUES))
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(document, dict):
        found = list(document.items())
    elif isinstance(document, list):
        found = list(enumerate(document[:20]))
    else:
        return
    for key, value in found:
        yield document, key
        yield from _places(value)


@st.composite
def written(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> tuple[bytes, dict[str, str]]:
    """A document's body and its headers: as it is, cut, longer, with a key twice, packed, or not."""
    document = draw(documents)
    body = body_of(document).replace(f'"{DEEP}"'.encode(), _DEEP)
    match draw(st.sampled_from((*[""] * 20, "cut", "more", "twice", "twice", "raw", "utf-16"))):
        case "cut":
            body = body[: draw(st.integers(0, min(len(body), 200)))]
        case "more":
            body += draw(st.sampled_from((b"{}", b"\0", b"\xff", b" \n", b"]")))
        case "twice" if isinstance(document, dict) and document:
            name = draw(st.sampled_from(sorted(document, key=repr)))
            body = b"{" + json.dumps(name).encode() + b":" + body_of(draw(VALUES)) + b"," + body[1:]
        case "raw":
            body = draw(st.binary(max_size=40))
        case "utf-16":
            body = body.decode().encode("utf-16")
    headers = {
        "Content-Type": draw(st.sampled_from(("application/json", "", "text/plain", "\xff")))
    }
    if encoding := draw(st.sampled_from(_ENCODINGS)):
        headers["Content-Encoding"] = encoding
        honest = draw(st.booleans())
        body = packed(body, encoding) if honest else body
    return body, headers


def packed(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.compress(body)
    return zlib.compress(body) if encoding == "deflate" else body


@st.composite
def forms(
    draw: st.DrawFn, fields: dict[str, Any], keys: tuple[str, ...]
) -> tuple[bytes, dict[str, str]]:
    """A form's body and its headers; of `fields`, those of bytes are files."""
    parts = list(fields.items())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.one_of(st.sampled_from(tuple(fields)), st.sampled_from(keys), WORDS))
        value = draw(
            st.one_of(WORDS, st.binary(max_size=20), NUMBERS.map(str), st.just("9" * 5000))
        )
        match draw(st.sampled_from(("set", "set", "add", "drop", "many"))):
            case "set":
                parts = [one for one in parts if one[0] != name] + [(name, value)]
            case "add":
                parts.append((name, value))
            case "drop":
                parts = [one for one in parts if one[0] != name]
            case "many":
                parts += [(f"{name}{i}", value) for i in range(draw(st.sampled_from((101, 1001))))]
    boundary = draw(st.sampled_from(("B", "B", "B", "x" * 200, "-")))
    body = b"".join(_part(draw, boundary, name, value) for name, value in parts)
    body += f"--{boundary}--\r\n".encode()
    if draw(st.integers(0, 9)) == 0:
        body = body[: draw(st.integers(0, len(body)))]
    said = draw(st.sampled_from((boundary, boundary, boundary, boundary, "C", "", "\xe4", '"')))
    kind = draw(
        st.sampled_from(("multipart/form-data",) * 5 + ("multipart/mixed", "application/json"))
    )
    headers = {"Content-Type": f"{kind}; boundary={said}"}
    if draw(st.integers(0, 9)) == 0:
        headers["Content-Type"] += draw(
            st.sampled_from(("; charset=odd", "; charset=utf-16", ";;=", "\xff"))
        )
    return body, headers


def _part(draw: st.DrawFn, boundary: str, name: str, value: Any) -> bytes:
    content = value if isinstance(value, bytes) else _bytes(value)
    quoted = _bytes(name.replace("\r\n", "%0D%0A"))
    head = b"--" + boundary.encode() + b'\r\nContent-Disposition: form-data; name="' + quoted + b'"'
    if isinstance(value, bytes):
        head += draw(st.sampled_from((
            b'; filename="a.wav"', b'; filename=""', b'; filename="../../x"', b"; filename*=utf-8''%ff%00",
            b'; filename="' + b"n" * 300 + b'"', b"; filename*=odd'x", b'; filename="a\0.wav"',
        )))  # fmt: skip
    more = draw(st.sampled_from((
        b"", b"", b"", b"\r\nContent-Transfer-Encoding: base64", b"\r\nContent-Type: text/plain; charset=odd",
        b"\r\nContent-Type: multipart/mixed; boundary=Z", b"\r\n: x", b"\r\nX: " + b"y" * 3000,
    )))  # fmt: skip
    return head + more + b"\r\n\r\n" + content + b"\r\n"


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


_SIZES = st.sampled_from((0, 1, 8, 15, 16, 17, 2**31, 2**63, 10**30, -1, 0.5, True, "16", None))


@st.composite
def binary_requests(
    draw: st.DrawFn, parameters: tuple[str, ...]
) -> tuple[bool, bytes, dict[str, str]]:
    """Whose JSON, sizes and bytes may all say something else: whether of texts, body, headers."""
    text = draw(st.booleans())
    honest = b"\x01\0\0\0a\x01\0\0\0b" if text else struct.pack("<4f", 1, 2, 3, 4)
    blob = draw(st.one_of(
        st.just(honest), st.binary(max_size=24), st.just(b"\xff" * 16), st.just(honest * 3), st.just(b"")
    ))  # fmt: skip
    size = draw(st.one_of(st.just(len(blob)), _SIZES))
    tensor = {
        "name": "x", "datatype": "BYTES" if text else "FP32", "shape": [2] if text else [1, 4],
        "parameters": {"binary_data_size": size},
    }  # fmt: skip
    document = {
        "inputs": [tensor] * draw(st.sampled_from((1, 1, 1, 2))),
        "outputs": [{"name": "y"}],
    }
    if draw(st.booleans()):
        document = draw(edited(document, parameters))
    head, headers = draw(written(st.just(document)))
    length = draw(st.one_of(
        st.just(str(len(head))), st.integers(-2, 400).map(str),
        st.sampled_from(("", "9" * 20, "9" * 5000, "+5", "1_0", "\xb2", " 5", "0x10", "1e2")),
    ))  # fmt: skip
    body = head + blob
    if encoding := draw(st.sampled_from(("", "", "", "gzip", "deflate"))):
        headers["Content-Encoding"] = encoding
        body = packed(body, encoding)
    return text, body, {**headers, "Inference-Header-Content-Length": length}
