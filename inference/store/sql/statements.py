"""The hot path's SQL, built once from the models: the ORM builds each statement anew, which takes several
times longer than running it.

Values go through the models' own fields both ways, so that rows are written and read as the ORM does it,
on any database. Statements belong into a transaction when they must hold together.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, cast

from django.core.exceptions import ValidationError
from django.db import connection, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from inference.documents import JsonView
from inference.store.sql.running import changed, rows

M = TypeVar("M", bound=models.Model)
Field: TypeAlias = "models.Field[Any, Any]"
Fields: TypeAlias = Sequence[Field]
Parameters: TypeAlias = list[Any]
_Prepare: TypeAlias = Callable[[object, BaseDatabaseWrapper], object]
# What a column must be: an SQL expression, one of several words, or None: as given at the call.
Condition = str | tuple[str, ...] | None
_FOLDER = Path(__file__).parent
_SAMPLES = ("", "a", 0, 1, 0.5, False, True, None)


def read_sql(name: str) -> str:
    """The text of one of the files in sql/: statements that are more than a model's fields."""
    return (_FOLDER / f"{name}.sql").read_text()


class _Prepared:
    """Values as the fields give them to the database; those that a field leaves as they are cost nothing."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def __call__(self, values: Iterable[object]) -> Parameters:
        database = connections["default"]
        return [
            value if type(value) in kept else prepare(value, database)
            for value, (kept, prepare) in zip(values, self._ways, strict=True)
        ]

    @functools.cached_property
    def _ways(self) -> list[tuple[frozenset[type], _Prepare]]:
        return [(_left_alone(field), _preparing(field)) for field in self._fields]


def _left_alone(field: Field) -> frozenset[type]:
    """The types whose values a field gives the database as they are: found by trying."""
    changed = {type(sample) for sample in _SAMPLES if not _is_left_alone(field, sample)}
    return frozenset(type(sample) for sample in _SAMPLES) - changed


def _is_left_alone(field: Field, sample: object) -> bool:
    try:
        prepared = field.get_db_prep_save(sample, connection)
    except (TypeError, ValueError, ValidationError):
        return False
    return type(prepared) is type(sample) and prepared == sample


def _preparing(field: Field) -> _Prepare:
    if type(field) is models.DateTimeField:
        return _moment
    if type(field) is models.JSONField:
        return functools.partial(_document, field.encoder)
    return field.get_db_prep_save


def _document(
    encoder: type[json.JSONEncoder] | None, value: object, database: BaseDatabaseWrapper
) -> object:
    """As `JSONField` gives it of what is a value and no expression."""
    return None if value is None else database.ops.adapt_json_value(value, encoder)


def _moment(value: object, database: BaseDatabaseWrapper) -> object:
    """As `DateTimeField` gives it of what has a time zone and is no expression."""
    return database.ops.adapt_datetimefield_value(cast("datetime", value))


class Insert(Generic[M]):
    """INSERT of instances of one model; a key that the database gives is set on them."""

    def __init__(self, model: type[M]) -> None:
        concrete: Fields = model._meta.concrete_fields
        self._model = model
        self._key: Field | None = next(
            (f for f in concrete if isinstance(f, models.AutoField)), None
        )
        self._fields = [field for field in concrete if field is not self._key]
        if any(
            getattr(f, "auto_now", False) or getattr(f, "auto_now_add", False) for f in concrete
        ):
            raise TypeError(
                f"{model.__name__}: expected fields that are given, not set by being saved"
            )
        self._given = operator.itemgetter(*(field.attname for field in self._fields))
        self._prepared = _Prepared(self._fields)

    def __call__(self, instances: Sequence[M]) -> None:
        keys = self.write([vars(instance) for instance in instances])
        for instance, key in zip(instances, keys, strict=False):
            instance.pk = key
        for instance in instances:
            instance._state.adding = False

    def write(self, instances: Sequence[JsonView]) -> list[object]:
        """The same of rows by their fields' names, all of them given; returns the database's keys."""
        values: Parameters = []
        for instance in instances:
            values += self._prepared(self._given(instance))
        sql = self._sql(len(instances))
        if self._key is None:
            changed(sql, values)
            return []
        return [key for key, *_ in rows(sql, values)]

    @functools.lru_cache(maxsize=64)  # noqa: B019  statements live as long as the process
    def _sql(self, count: int) -> str:
        returning = f" RETURNING {_quoted([self._key])}" if self._key else ""
        row = f"({', '.join(['%s'] * len(self._fields))})"
        return (
            f"INSERT INTO {_name(self._model)} ({_quoted(self._fields)}) "
            f"VALUES {', '.join([row] * count)}{returning}"
        )


class Update:
    """UPDATE of one model's rows: what `change` names is set where all that `where` names fits.

    Each maps a field to an SQL expression, such as "fence + 1", or to None: the value is given at the call.
    `where` may name several words, of which one must be there.
    """

    def __init__(
        self,
        model: type[models.Model],
        change: Mapping[str, str | None],
        where: Mapping[str, Condition],
    ) -> None:
        self._model = model
        self._change = list(zip(_fields(model, change), change.values(), strict=True))
        self._where = list(zip(_fields(model, where), where.values(), strict=True))
        given = [*self._change, *self._where]
        self._named = _Named([field for field, sql in given if sql is None])

    def __call__(self, **values: Any) -> int:
        """Returns how many rows fitted."""
        return changed(self._sql, self._named(values))

    @functools.cached_property
    def _sql(self) -> str:
        change = ", ".join(f"{_quoted([field])} = {sql or '%s'}" for field, sql in self._change)
        where = " AND ".join(f"{_quoted([field])} {condition_sql(it)}" for field, it in self._where)
        return f"UPDATE {_name(self._model)} SET {change} WHERE {where}"


class Select(Generic[M]):
    """SELECT of whole rows of one model by equality, in order of its key.

    `sql` instead of `where` is a statement of one's own that returns every column (`{columns}`, in this
    order) and takes its parameters in the order of `where`, which may name one several times.
    """

    def __init__(self, model: type[M], where: Sequence[str], *, sql: str | None = None) -> None:
        self._model = model
        self._columns: Fields = model._meta.concrete_fields
        self._names = [field.attname for field in self._columns]
        self._where = _fields(model, where)
        self._named = _Named(self._where)
        self._read = _Read(model, self._columns)
        self._own = sql

    def __call__(self, **values: Any) -> list[M]:
        return [self.instance(row) for row in rows(self._sql, self._named(values))]

    def instance(self, columns: Iterable[object]) -> M:
        """What the columns of a row say."""
        return self._model.from_db("default", self._names, self._read(columns))

    @functools.cached_property
    def columns(self) -> str:
        """Those that `instance` takes, as SQL has them."""
        return _quoted(self._columns)

    @functools.cached_property
    def _sql(self) -> str:
        columns = self.columns
        if self._own is not None:
            return self._own.replace("{columns}", columns)
        key = _quoted([self._model._meta.pk])
        where = " AND ".join(f"{_quoted([field])} = %s" for field in self._where)
        return f"SELECT {columns} FROM {_name(self._model)} WHERE {where} ORDER BY {key}"


class Values:
    """SELECT of some columns of one model's rows by equality, in no order: where a whole row is too much."""

    def __init__(
        self, model: type[models.Model], columns: Sequence[str], where: Sequence[str]
    ) -> None:
        self._model = model
        self._columns, self._where = _fields(model, columns), _fields(model, where)
        self._named, self._read = _Named(self._where), _Read(model, self._columns)

    def __call__(self, **values: object) -> list[Parameters]:
        return [self._read(row) for row in rows(self._sql, self._named(values))]

    @functools.cached_property
    def _sql(self) -> str:
        where = " AND ".join(f"{_quoted([field])} = %s" for field in self._where)
        return f"SELECT {_quoted(self._columns)} FROM {_name(self._model)} WHERE {where}"


class _Read:
    """A row's columns as the fields have them; those that the database gives as they are cost nothing."""

    def __init__(self, model: type[models.Model], fields: Fields) -> None:
        self._table, self._fields = model._meta.db_table, fields

    def __call__(self, columns: Iterable[object]) -> Parameters:
        values: Parameters = list(columns)
        for at, column, converters in self._ways:
            if values[at] is not None:
                for convert in converters:
                    values[at] = convert(values[at], column, connection)
        return values

    @functools.cached_property
    def _ways(self) -> list[tuple[int, object, list[Callable[..., object]]]]:
        found: list[tuple[int, object, list[Callable[..., object]]]] = []
        for at, field in enumerate(self._fields):
            column = field.get_col(self._table)
            converters: list[Callable[..., object]] = [
                *connection.ops.get_db_converters(column),
                *column.get_db_converters(connection),
            ]
            if type(field) is models.JSONField and field.decoder is None:
                converters = [_read_document]
            if converters:
                found.append((at, column, converters))
        return found


def _read_document(text: str, _column: object, _database: object) -> object:
    """As `JSONField` reads it; most documents of a run are empty."""
    if text == "{}":
        return {}
    return [] if text == "[]" else json.loads(text)


class Ask:
    """A statement of one's own from sql/, whose parameters are a model's fields, in order."""

    def __init__(self, name: str, model: type[models.Model], where: Sequence[str]) -> None:
        self._sql = read_sql(name)
        self._named = _Named(_fields(model, where))

    def __call__(self, **values: Any) -> list[tuple[Any, ...]]:
        return rows(self._sql, self._named(values))


def condition_sql(condition: Condition) -> str:
    """The SQL after the column's name."""
    if isinstance(condition, tuple):
        words = ", ".join(f"'{word}'" for word in condition)
        return f"IN ({words})" if len(condition) > 1 else f"= {words}"
    return f"= {condition or '%s'}"


def _fields(model: type[models.Model], names: Iterable[str]) -> list[Field]:
    by_column = {field.attname: field for field in model._meta.concrete_fields}
    return [by_column[name] for name in names]


class _Named:
    """A statement's parameters, in its order, of values by their names."""

    def __init__(self, fields: Fields) -> None:
        self._names = [field.attname for field in fields]
        self._expected = frozenset(self._names)
        self._prepared = _Prepared(fields)

    def __call__(self, values: JsonView) -> Parameters:
        if values.keys() != self._expected:
            raise TypeError(f"expected {', '.join(self._names)}; got {', '.join(values)}")
        return self._prepared([values[name] for name in self._names])


def _name(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _quoted(fields: Iterable[Any]) -> str:
    return ", ".join(connection.ops.quote_name(field.column) for field in fields)
