"""/admin/compare/<model>/: how does it fare in each browser? The latest comparison, a form for the next."""

from __future__ import annotations

from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from inference import auth
from inference.comparisons import asking, report
from inference.comparisons import page as shared
from inference.documents import JsonObject
from inference.errors import WebpoolError
from inference.models import Comparison, Entrance, OnnxModel
from inference.store import audit
from inference.store.paths import sayable
from inference.trying.inputs import of_file

_MOST = 50


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, name: str) -> HttpResponse:
    model = OnnxModel.objects.defer("summary").filter(name=name).first()
    if model is None:
        raise Http404(f"no model is called {name}")
    if request.method == "POST" and (started := _start(request, model)) is not None:
        return redirect("admin:inference_comparison_change", started.pk)
    rows = list(Comparison.objects.filter(model=model)[:_MOST])
    posted = request.POST
    context: JsonObject = {
        **admin.site.each_context(request),
        "title": f"How {model.name} fares in each browser",
        "model": model,
        "rows": rows,
        "asked": {"runs": asking.USUAL_RUNS, **posted.dict()},
        "backends": {
            name: not posted or name in posted.getlist("backends") for name in asking.BACKENDS
        },
        "may_start": auth.allows(auth.person(request), auth.START_COMPARISON),
    }
    if rows:
        context |= shared.told(report.document(rows[0]))
    return render(request, "inference/comparison/model.html", context)


def _start(request: HttpRequest, model: OnnxModel) -> Comparison | None:
    """The comparison that the form asks for; None: it cannot be, and the page says why."""
    caller = auth.person(request)
    given = request.POST
    # As they were written: `create` reads them as every door's.
    written: JsonObject = {name: given.get(name) or None for name in ("rows", "seed")}
    written["runs"] = given.get("runs") or asking.USUAL_RUNS
    try:
        auth.check(caller, auth.START_COMPARISON)
        with audit.acting(Entrance.ADMIN, caller.name, "compare", f"model {model.name}"):
            return asking.create(
                asking.Asked(
                    model=model.name,
                    **written,
                    **_file(request, model),
                    browsers=tuple(given.get("browsers", "").split(",")),
                    backends=tuple(given.getlist("backends")),
                    strategies=tuple(given.get("strategies", "").split(",")),
                    known_answer=given.get("inputs") == "known answer",
                    strict="strict" in given,
                    owner=caller.name,
                )
            )
    except WebpoolError as error:
        messages.error(request, sayable(str(error)))
        return None


def _file(request: HttpRequest, model: OnnxModel) -> JsonObject:
    """What a file of inputs that was chosen says; nothing where none was."""
    file = request.FILES.get("file")
    if file is None:
        return {}
    ready = of_file(model, file.read(), request.user.get_username())
    return {"inputs": ready.tensors, "filled_in": tuple(ready.filled_in), "source": file.name}
