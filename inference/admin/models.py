"""Registered models and their plans: facts to read, a form to upload one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from browsers.admin import ReadOnly, Rows
from inference.admin import model_page
from inference.admin.adding import AddedByForm
from inference.admin.audit import Audited, tell
from inference.admin.renewed import Renewed
from inference.catalog import expectations, uploads
from inference.documents import JsonObject
from inference.errors import InvalidRequest, WebpoolError
from inference.models import ModelType, OnnxModel, Plan, PlanStep
from inference.store.paths import sayable
from inference.wire.serializers.models import crossing
from webpool_site.telling import units

_MOST_TENSORS: Final = 8
"""So many of a step's are named on the page of its plan, which may have hundreds of steps."""


class ManyFilesWidget(UnfoldAdminFileFieldWidget):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    widget = ManyFilesWidget

    def clean(self, data: Iterable[object] | None, initial: object = None) -> list[UploadedFile]:
        return [super(ManyFilesField, self).clean(item, initial) for item in data or () if item]


class UploadForm(forms.ModelForm):
    """Name a model and send its files; it is registered while the form is checked."""

    name = forms.CharField(
        max_length=128, widget=UnfoldAdminTextInputWidget(), help_text="letters, digits, - and _"
    )
    model_type = forms.ChoiceField(
        choices=ModelType.choices, initial=ModelType.OTHER, widget=UnfoldAdminSelectWidget()
    )
    file = forms.FileField(label="ONNX file", required=False, widget=UnfoldAdminFileFieldWidget())
    manifest = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget(),
        help_text="instead of an ONNX file: how several files, or registered models, make one (JSON)",
    )
    components = ManyFilesField(
        required=False,
        help_text="the ONNX files that the manifest names, unless they are registered",
    )
    external_data = ManyFilesField(
        required=False,
        help_text="the files that an ONNX file names, when it keeps weights outside",
    )
    tokenizer = forms.FileField(
        label="tokenizer.json", required=False, widget=UnfoldAdminFileFieldWidget()
    )
    expectations = forms.FileField(
        label="webpool.json",
        required=False,
        widget=UnfoldAdminFileFieldWidget(),
        help_text="what people give it and get from it: pictures' sizes, labels",
    )

    class Meta:
        model = OnnxModel
        fields = ["name", "model_type"]

    def _post_clean(self) -> None:
        """Register where Django would build the row: what is wrong with the files is the form's error."""
        if self.errors:
            return
        try:
            given = self.cleaned_data
            self.instance = expectations.registered(
                lambda: self._register(given), given["expectations"]
            )
        except WebpoolError as error:
            self.add_error(None, sayable(str(error)))

    def _register(self, given: JsonObject) -> OnnxModel:
        words = {key: given[key] for key in ("name", "model_type", "tokenizer")}
        if bool(given["file"]) == bool(given["manifest"]):
            raise InvalidRequest("expected either an ONNX file or a manifest")
        if given["file"]:
            if given["components"]:
                raise InvalidRequest("components go with a manifest, not with an ONNX file")
            return uploads.register_upload(
                given["file"], external_data=given["external_data"], **words
            )
        files = [*given["components"], *given["external_data"]]
        return uploads.register_manifest(given["manifest"], files=files, **words)

    def save(self, commit: bool = True) -> OnnxModel:
        self.save_m2m = lambda: None  # type: ignore[method-assign]
        return self.instance


class PlanInline(Rows):
    model = Plan
    fields = ["strategy", "num_shards", "data_parallel", "created_at"]
    show_change_link = True


@admin.register(OnnxModel)
class OnnxModelAdmin(AddedByForm, Audited, Renewed[OnnxModel]):
    list_display = ["name", "model_type", "size", "node_count", "max_shards", "created_at"]
    list_filter = ["model_type"]
    search_fields = ["name", "sha256"]
    part_template = "inference/model.html"
    ages = True  # its runs are counted, its proofs listed
    add_fieldsets = [
        (
            None,
            {
                "fields": [
                    "name",
                    "model_type",
                    "file",
                    "manifest",
                    "components",
                    "external_data",
                    "tokenizer",
                    "expectations",
                ]
            },
        )
    ]

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_fieldsets(self, request: HttpRequest, obj: object = None) -> object:
        """The page says it all above the fields, of which there are none."""
        return [] if obj else self.add_fieldsets

    def part(self, row: OnnxModel) -> JsonObject:
        return model_page.told(row)

    def changes(self, row: OnnxModel) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OnnxModel]:
        """Summaries are large: only the page of one model reads them."""
        rows: QuerySet[OnnxModel] = super().get_queryset(request)
        return rows.defer("summary")

    def get_form(
        self, request: HttpRequest, obj: object = None, change: bool = False, **kw: object
    ) -> object:
        return super().get_form(request, obj, change, **kw) if obj else UploadForm

    def get_inlines(self, request: HttpRequest, obj: object) -> object:
        return [PlanInline] if obj else []

    def get_deleted_objects(self, objs: Iterable[OnnxModel], request: HttpRequest) -> object:
        counts = [
            f"{model.name}: {model.plans.count()} plans, {model.runs.count()} runs and the files only it uses"
            for model in objs
        ]
        return counts, {}, set(), []

    def delete_model(self, request: HttpRequest, obj: OnnxModel) -> None:
        self._remove(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[OnnxModel]) -> None:
        for model in queryset:
            self._remove(request, model)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: JsonObject | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except uploads.Conflict as error:
            return self._refused(request, error)

    def changelist_view(
        self, request: HttpRequest, extra_context: JsonObject | None = None
    ) -> HttpResponse:
        try:
            return super().changelist_view(request, extra_context)
        except uploads.Conflict as error:
            return self._refused(request, error)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Model]) -> list[LogEntry]:
        """Not before they are removed, which may be refused: `_remove` tells the audit log."""
        entries: list[LogEntry] = ModelAdmin.log_deletions(self, request, queryset)
        return entries

    def _remove(self, request: HttpRequest, model: OnnxModel) -> None:
        uploads.remove_model(model)
        tell(request, "delete", f"model {model.name}", model.sha256)

    def _refused(self, request: HttpRequest, error: WebpoolError) -> HttpResponse:
        tell(request, "delete", "model", str(error), done=False)
        self.message_user(request, sayable(str(error)), messages.ERROR)
        return HttpResponseRedirect(reverse("admin:inference_onnxmodel_changelist"))

    @display(description="size")
    def size(self, model: OnnxModel) -> str:
        return units.size(model.file_bytes)


class PlanStepInline(Rows):
    model = PlanStep
    fields = [
        "index", "kind", "group", "file_bytes", "weight_bytes", "copied_bytes", "share", "node_count",
        "depends_on", "crossing_tensors",
    ]  # fmt: skip

    @display(description="share of the work")
    def share(self, shard: PlanStep) -> str:
        return units.number(shard.cost)

    @display(description="from earlier shards")
    def crossing_tensors(self, shard: PlanStep) -> str:
        ports = crossing(shard)
        said = [
            f"{port['name']} {port['dtype']} {' × '.join(map(str, port['shape']))}".strip()
            for port in ports[:_MOST_TENSORS]
        ]
        more = [f"… ({len(ports)})"] if len(ports) > len(said) else []
        return ", ".join([*said, *more]) or "none"


@admin.register(Plan)
class PlanAdmin(ReadOnly, ModelAdmin):
    list_display = ["model", "strategy", "num_shards", "data_parallel", "created_at"]
    list_filter = ["strategy", "model"]
    fields = [
        "model",
        "model_sha256",
        "strategy",
        "num_shards",
        "data_parallel",
        "created_at",
    ]
    inlines = [PlanStepInline]
