"""/admin/try/NAME/: a text, a picture or a sound is given, or tensors; the answer, and the code for it."""

from __future__ import annotations

import dataclasses

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from inference.catalog import expectations
from inference.documents import JsonObject
from inference.errors import WebpoolError
from inference.models import OnnxModel
from inference.runs.options import STRATEGIES
from inference.scheduling.wishes import PLATFORMS
from inference.store.paths import sayable
from inference.trying import asking
from inference.trying.code import Asked, code
from inference.trying.fields import Field, Kind, fields
from inference.trying.showing import drawn
from inference.views.trying.given import given_of, pasted

_KEPT = ("browsers", "platform", "strategy", "shards")


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, name: str) -> HttpResponse:
    model = OnnxModel.objects.defer("summary").filter(name=name).first()
    if model is None:
        raise Http404(f"no model is called {name}")
    offered = fields(model)
    posted = request.POST.copy()
    if example := posted.get("example"):
        posted["text"] = example
    texts = [text for text in posted.getlist("text") if text]
    answer: JsonObject | None = None
    asked = Asked(texts)
    if request.method == "POST":
        try:
            given, wishes = given_of(posted, request.FILES, offered)
            asked = Asked(texts, forms=given.forms, wishes=wishes)
            found = asking.tried(model, given, wishes, request.user.get_username())
            answer = {**found.told, "outputs": [drawn(one) for one in found.told["outputs"]]}
            if given.tensors:
                asked = dataclasses.replace(asked, tensors=found.inputs)
        except WebpoolError as error:
            messages.error(request, sayable(str(error)))
    context: JsonObject = {
        **admin.site.each_context(request),
        "title": f"Try {model.name}",
        "model": model,
        "fields": [_edited(field, request) for field in offered],
        "needs_tensors": any(field.kind == Kind.TENSOR for field in offered),
        "asked": {key: posted.get(key, "") for key in _KEPT} | {"tensors": pasted(posted)},
        "text": "\n".join(texts),
        "examples": expectations.of_model(model).examples,
        "platforms": PLATFORMS,
        "strategies": STRATEGIES,
        "answer": answer,
        "code": code(model, offered, request.build_absolute_uri("/").rstrip("/"), asked),
    }
    return render(request, "inference/trying/page.html", context)


def _edited(field: Field, request: HttpRequest) -> JsonObject:
    """The field with a picture's form as it was sent, or as it is: pairs of key and text."""
    pairs = []
    for key, value in vars(field.form).items() if field.kind == Kind.PICTURE else ():
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        pairs.append((key, request.POST.get(f"{field.name}.{key}", text)))
    return {**vars(field), "edited": pairs}
