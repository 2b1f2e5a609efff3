"""Registered models: read and stored once, immutable from then on."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from django.db import IntegrityError

from browsers.models import BackendProof
from inference.catalog import known_answers, reading
from inference.catalog.decoder_document import decoder_document
from inference.catalog.tokenizer import Tokenizer
from inference.checkpoints.described import Described
from inference.errors import InvalidRequest, UnknownModel
from inference.models import ModelType, OnnxModel, PlanStep
from inference.store import transactions
from inference.store.files import files_dir, keep, made_files, path_of
from inference.store.sql.running import rows
from inference.store.sql.statements import Ask, read_sql

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_TAKEN = {"stats": "/v2/models/stats tells the statistics of all models"}
# Whoever writes a row that names files, or deletes files that no row names, holds the lock of this name.
FILES = "files"
_KEY, _ANY = Ask("model_key", OnnxModel, ("name",)), read_sql("any_model")


def add_model(
    path: Path,
    *,
    name: str,
    model_type: str = ModelType.OTHER,
    tokenizer: Path | None = None,
    described: Described | None = None,
    overrides: Sequence[str] = (),
    drawn: bool = False,
) -> OnnxModel:
    """Register an ONNX file (with its external data, if any); nothing is kept when it is refused.

    Registering the same bytes under the same name again returns the existing model. `described`: of a model
    that is to write text, what its graph does not tell; its graph must be a decoder's then.
    `overrides`: weights listed as inputs, which are given with every request from then on. `drawn`: webpool
    drew its graph (zoo/decoder.py) from weights alone, so that its texts share batches with other owners'.
    Never of a file that somebody sent.

    Raises:
        InvalidRequest: not a model that onnxruntime can run, a bad or taken name, a bad tokenizer.
    """
    check_words(name, model_type)
    kept: set[str] = set()
    try:
        with made_files() as folder:
            called = described.called if described else None
            read = reading.read(path, folder, called=called, overrides=overrides)
            existing = OnnxModel.objects.filter(name=name).first()
            if existing is not None:
                return same_or_taken(existing, read.sha256)
            decoder = decoder_document(read, described, drawn=drawn)
            tokenizer_sha = Tokenizer.store(tokenizer, files_dir()) if tokenizer else ""
            kept |= {tokenizer_sha} - {""}
            keep(read.path, read.sha256)
            kept.add(read.sha256)
    except ValueError as error:
        discard(kept)
        raise InvalidRequest(f"{path.name}: {error}") from error
    summary = read.summary
    try:
        return _create(
            kept,
            name=name,
            model_type=model_type,
            sha256=read.sha256,
            file_bytes=path_of(read.sha256).stat().st_size,
            weight_bytes=summary["weight_bytes"],
            node_count=summary["node_count"],
            max_shards=summary["max_shards"],
            batch_axis=summary["batch_axis"],
            inputs=summary["inputs"],
            outputs=summary["outputs"],
            summary=summary,
            tokenizer=tokenizer_sha,
            decoder=decoder,
        )
    except IntegrityError:  # somebody else registered the name meanwhile
        discard(kept)
        return same_or_taken(OnnxModel.objects.get(name=name), read.sha256)
    except InvalidRequest:
        discard(kept)
        raise


@transactions.repeated
def _create(files: Iterable[str], **row: object) -> OnnxModel:
    with transactions.alone(FILES):
        check_kept(files)
        return OnnxModel.objects.create(**row)


def check_words(name: str, model_type: str) -> None:
    """Refuse a name or type that no model can have.

    Raises:
        InvalidRequest: says what was expected.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"model name {name!r}: expected letters, digits, - and _, at most 128 characters"
        )
    if name in _TAKEN:
        raise InvalidRequest(f"model name {name!r}: expected another one: {_TAKEN[name]}")
    if model_type not in ModelType.values:
        raise InvalidRequest(
            f"model type {model_type!r}: expected one of {', '.join(ModelType.values)}"
        )


def check_kept(files: Iterable[str]) -> None:
    """With the lock of FILES, before a row names them: all are there.

    They are kept before the lock is held, which would stop every writer while they are read. Whoever deletes
    another model with the same file meanwhile finds no row that names it, and takes it away.

    Raises:
        InvalidRequest: one was deleted meanwhile.
    """
    for sha256 in files:
        if not path_of(sha256).exists():
            raise InvalidRequest(f"the file {sha256[:12]}… was deleted meanwhile; try again")


@transactions.repeated
def discard(files: set[str]) -> None:
    """Delete files that no model and no plan names any more."""
    with transactions.alone(FILES):  # no row that names one can come between the look and the deed
        gone = files - {""} - _still_named(files)
        BackendProof.objects.filter(sha256__in=gone).delete()
        for sha256 in gone:
            path_of(sha256).unlink(missing_ok=True)
            known_answers.path_of(sha256).unlink(missing_ok=True)


def _still_named(files: set[str]) -> set[str]:
    named: set[str] = set()
    for field in ("sha256", "tokenizer"):
        rows = OnnxModel.objects.filter(**{f"{field}__in": files})
        named |= set(rows.values_list(field, flat=True))
    for components in OnnxModel.objects.exclude(components=[]).values_list("components", flat=True):
        named |= {item["sha256"] for item in components}
    return named | set(PlanStep.objects.filter(sha256__in=files).values_list("sha256", flat=True))


def same_or_taken(existing: OnnxModel, sha256: str) -> OnnxModel:
    """The model of that name, when it is the same one.

    Raises:
        InvalidRequest: the name is taken.
    """
    if existing.sha256 == sha256:
        return existing
    raise InvalidRequest(
        f"a model named {existing.name!r} exists with other content (sha256 {existing.sha256[:12]}…); "
        "choose another name or delete it first"
    )


def get_model(name: str) -> OnnxModel:
    """The registered model.

    Raises:
        UnknownModel: names the models that exist.
    """
    model = OnnxModel.objects.filter(name=name).first()
    if model is None:
        known = ", ".join(OnnxModel.objects.values_list("name", flat=True)) or "none"
        raise UnknownModel(f"no model named {name!r} is registered; registered: {known}")
    return model


def names_any() -> bool:
    """Whether a model is registered; the database answers."""
    return bool(rows(_ANY))


def tokenizer_of(model: OnnxModel) -> Tokenizer:
    """The model's tokenizer.

    Raises:
        InvalidRequest: it was registered without one.
    """
    if not model.tokenizer:
        raise InvalidRequest(
            f"model {model.name} has no tokenizer: send tensors, or register it with --tokenizer"
        )
    return Tokenizer(path_of(model.tokenizer), [item["name"] for item in model.inputs])


def current_model(name: str) -> OnnxModel:
    """The registered model, as remembered by this process if it is still the one of that name.

    Raises:
        UnknownModel: as `get_model`.
    """
    if not is_current(name):
        cached_model.cache_clear()
    return cached_model(name)


def is_current(name: str) -> bool:
    """Whether what this process remembers is still the model of that name; else it was deleted, and perhaps
    registered anew.

    Raises:
        UnknownModel: as `get_model`.
    """
    return _KEY(name=name) == [(cached_model(name).pk,)]


@functools.lru_cache(maxsize=256)
def cached_model(name: str) -> OnnxModel:
    """A registered model, remembered by this process.

    One that was deleted meanwhile is noticed when a run of it is refused or inserted: call
    `plans.clear_cache` then.

    Raises:
        UnknownModel: as `get_model`.
    """
    return get_model(name)
