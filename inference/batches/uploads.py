"""A batch job from an uploaded file."""

from __future__ import annotations

from django.core.files.uploadedfile import UploadedFile

from inference.batches import jobs, storage
from inference.catalog.uploads import file_name
from inference.documents import JsonView
from inference.models.batches import BatchJob
from inference.store.scratch import UPLOAD, scratch


def job_from_upload(
    file: UploadedFile,
    *,
    model: str,
    owner: str,
    given: JsonView,
) -> tuple[BatchJob, bool]:
    """As `jobs.create_job`; the uploaded file itself is not kept. A cancelled equal job goes on.

    Args:
        given: options of the job and of its runs, as a form sends them.

    Raises:
        Busy, InvalidRequest: as `jobs.create_job`.
    """
    own, options = jobs.divide(given)
    with scratch(storage.root(), UPLOAD) as folder:
        path = folder / file_name(file, usual="input")
        with path.open("xb") as target:
            for chunk in file.chunks():
                target.write(chunk)
        request = jobs.JobRequest(
            model=model,
            source=path,
            options=options,
            owner=owner,
            **own,
        )
        job, new = jobs.create_job(request)
    if not new:
        jobs.resume_job(job)
    return job, new
