"""/admin/chat/: a person talks to a model; the page asks /v1/, and here where a session's layers are."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from inference.catalog.decoders import decoder_of
from inference.documents import JsonObject
from inference.generation import report
from inference.models import GenerationSession, OnnxModel

_USUAL_TOKENS = 512


@require_GET
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """The page for `?model=`, or for the first model that writes text."""
    writers = OnnxModel.objects.exclude(decoder=None).exclude(tokenizer="").defer("summary")
    names = list(writers.order_by("name").values_list("name", flat=True))
    wanted = request.GET.get("model") or next(iter(names), "")
    if wanted and wanted not in names:
        raise Http404(f"no model that writes text is called {wanted}")
    context: JsonObject = {
        **admin.site.each_context(request),
        "title": f"Chat with {wanted}" if wanted else "Chat",
        "names": names,
    }
    if wanted:
        model = writers.get(name=wanted)
        decoder = decoder_of(model)
        context |= {
            "model": model,
            "decoder": decoder,
            "usual_tokens": min(_USUAL_TOKENS, decoder.context // 2),
        }
    return render(request, "inference/chat.html", context)


@require_GET
@never_cache
def session(request: HttpRequest, session_id: str) -> HttpResponse:
    """Where a session's layers are and what was recovered, without its text."""
    try:
        found = report.of_session(session_id)
    except (GenerationSession.DoesNotExist, ValidationError):
        raise Http404(f"no session has the id {session_id}") from None
    return JsonResponse({name: found[name] for name in ("state", "stages", "recoveries")})
