"""/api/batches/: files of inputs as jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http import HttpResponseBase, QueryDict, StreamingHttpResponse
from drf_spectacular.utils import OpenApiTypes, extend_schema
from rest_framework import generics, status
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import auth
from inference.batches import jobs, results
from inference.batches.serializers import (
    BatchFileSerializer,
    BatchJobDetailSerializer,
    BatchJobSerializer,
    BatchSerializer,
    BatchUploadSerializer,
    RetrySerializer,
)
from inference.batches.uploads import job_from_upload
from inference.catalog import registry
from inference.catalog.uploads import Conflict
from inference.errors import InvalidRequest
from inference.models import Entrance
from inference.models.batches import Batch, BatchJob
from inference.store import audit
from inference.views.door import Door, asked, caller_of
from inference.wire.queries import text
from inference.wire.serializers.errors import ErrorSerializer

ERRORS = dict.fromkeys((400, 401, 403, 404, 413, 429, 503), ErrorSerializer)
_CHUNK_BYTES = 2**18
_TYPES = {
    "jsonl": "application/x-ndjson",
    "npz": "application/octet-stream",
    "parquet": "application/vnd.apache.parquet",
}


class BatchJobList(Door, generics.ListAPIView[BatchJob]):
    """Batch jobs, the latest first."""

    rules = {"POST": auth.START_BATCH_JOB}
    serializer_class = BatchJobSerializer
    queries = {"GET": [text("model", "name")]}
    parser_classes = [MultiPartParser, FormParser]
    takes = "parts: model, file, and how it runs"

    def get_queryset(self) -> QuerySet[BatchJob]:
        rows = BatchJob.objects.select_related("model").defer("model__summary")
        if (model := self.request.query_params.get("model")) is not None:
            rows = rows.filter(model=registry.get_model(model))
        return rows

    @extend_schema(
        request={"multipart/form-data": BatchUploadSerializer},
        responses={202: BatchJobDetailSerializer, 200: BatchJobDetailSerializer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Start a job: the whole file is checked before anything runs.

        The caller's own job of the same file, model and options is answered with 200; it goes on if it
        was cancelled.
        """
        given = cast("QueryDict", request.data)
        form = BatchFileSerializer(data=given)
        form.is_valid(raise_exception=True)
        own = form.validated_data
        job, new = job_from_upload(
            own["file"],
            model=own["model"],
            owner=caller_of(request).name,
            given={name: value for name, value in given.items() if name not in own},
        )
        return Response(
            BatchJobDetailSerializer(job).data,
            status=status.HTTP_202_ACCEPTED if new else status.HTTP_200_OK,
            headers={"Location": f"/api/batches/{job.pk}/"},
        )


class BatchJobDetail(Door, APIView):
    """One job: how far it is, what failed, which browsers computed it."""

    @extend_schema(responses={200: BatchJobDetailSerializer, **ERRORS})
    def get(self, request: Request, job_id: str) -> Response:
        return Response(BatchJobDetailSerializer(jobs.get_job(job_id)).data)


class BatchList(Door, generics.ListAPIView[Batch]):
    """The batches of a job."""

    serializer_class = BatchSerializer
    queryset = Batch.objects.none()

    def get_queryset(self) -> QuerySet[Batch]:
        return jobs.get_job(self.kwargs["job_id"]).batches.all()


class BatchJobOutput(Door, APIView):
    queries = {"GET": [text("as", "left out: as the input was", enum=list(results.EXTENSIONS))]}

    @extend_schema(
        responses={
            **{(200, kind): OpenApiTypes.BINARY for kind in _TYPES.values()},
            409: ErrorSerializer, **ERRORS,
        },
    )  # fmt: skip
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """The results in the order of the items, once the job is at rest."""
        job = jobs.get_job(job_id)
        kind = request.query_params.get("as", job.source_format)
        if kind not in results.EXTENSIONS:
            expected = ", ".join(results.EXTENSIONS)
            raise InvalidRequest(f"as: expected one of {expected}, got {kind!r:.100}")
        path = results.download(job, kind)
        name = f"{Path(job.source_name).stem}.out{results.EXTENSIONS[kind]}"
        answer = StreamingHttpResponse(_chunks(path), content_type=_TYPES[kind])
        answer.headers["Content-Length"] = str(path.stat().st_size)
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
        answer.headers["Content-Disposition"] = f'attachment; filename="{safe}"'
        return answer


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    """The file piece by piece, never whole in memory."""
    file = await sync_to_async(lambda: path.open("rb"))()
    try:
        while chunk := await sync_to_async(file.read)(_CHUNK_BYTES):
            yield chunk
    finally:
        file.close()


class BatchJobCancel(Door, APIView):
    rules = {"POST": auth.OWNER}

    @extend_schema(
        request=None, responses={200: BatchJobDetailSerializer, 409: ErrorSerializer, **ERRORS}
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Send no more batches and end those in flight; what is done stays."""
        job = _own_job(request, job_id)
        with audit.acting(Entrance.REST, caller_of(request).name, "cancel", f"batch job {job.pk}"):
            if not jobs.cancel_job(job):
                raise Conflict(f"batch job {job.pk} has ended already: {job.state}")
        return Response(BatchJobDetailSerializer(job).data)


class BatchJobResume(Door, APIView):
    rules = {"POST": auth.OWNER}

    @extend_schema(
        request=RetrySerializer,
        responses={202: BatchJobDetailSerializer, 409: ErrorSerializer, **ERRORS},
    )
    def post(self, request: Request, job_id: str) -> Response:
        """Go on with a cancelled job, and with its failed batches if asked."""
        job = _own_job(request, job_id)
        wanted = asked(RetrySerializer, request.data)
        with audit.acting(Entrance.REST, caller_of(request).name, "resume", f"batch job {job.pk}"):
            if not jobs.resume_job(job, retry_failed=wanted["retry_failed"]):
                raise Conflict(f"batch job {job.pk} has nothing left to do: {job.state}")
        return Response(BatchJobDetailSerializer(job).data, status=status.HTTP_202_ACCEPTED)


def _own_job(request: Request, job_id: str) -> BatchJob:
    """The job, for its owner and for whoever may change those of others.

    Raises:
        Forbidden: for others.
    """
    job, caller = jobs.get_job(job_id), caller_of(request)
    auth.check_owner(caller, job.owner, auth.CHANGE_BATCH_JOB)
    return job
