"""What a form for trying a model sends, as browsers and programs send it."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict

from inference.core.expectations import Picture
from inference.errors import InvalidRequest
from inference.trying.fields import Field, Kind
from inference.views.trying.given import given_of

PICTURE = Field("pixels", Kind.PICTURE, form=Picture(4, 2))
NOTHING: MultiValueDict[str, UploadedFile] = MultiValueDict()


def test_pasted_tensors_count_where_no_file_was_chosen() -> None:
    """A browser sends a file field that was left empty as an empty text of its name, after the pasted one."""
    given, _ = given_of(QueryDict("tensors=%5B1%5D&tensors=&pixels="), NOTHING, [PICTURE])
    assert given.tensors == b"[1]"


def test_a_file_wins_over_what_was_pasted() -> None:
    chosen = SimpleUploadedFile("x.npz", b"PK")
    files: MultiValueDict[str, UploadedFile] = MultiValueDict({"tensors": [chosen]})
    given, _ = given_of(QueryDict("tensors=%5B1%5D"), files, [PICTURE])
    assert given.tensors == b"PK"


def test_an_edited_form_and_options_are_read() -> None:
    posted = QueryDict(
        "pixels.mean=1,+0.5+1&pixels.width=8&shards=2&browsers=a,b&csrfmiddlewaretoken=t"
    )
    given, wishes = given_of(posted, NOTHING, [PICTURE])
    assert given.forms == {"pixels": Picture(8, 2, mean=(1.0, 0.5, 1.0))}
    assert wishes == {"shards": 2, "browsers": ("a", "b")}


@pytest.mark.parametrize("part", ["platfrom=wasm", "pixels.meen=1", "text=a", "other.mean=1"])
def test_a_part_that_nobody_reads_is_refused(part: str) -> None:
    with pytest.raises(InvalidRequest, match="unknown part"):
        given_of(QueryDict(part), NOTHING, [PICTURE])
