"""A batch job from an uploaded file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import UploadedFile

from inference.batches import jobs, storage
from inference.catalog.uploads import file_name
from inference.models.batches import BatchJob


def job_from_upload(
    file: UploadedFile,
    *,
    model: str,
    owner: str,
    batch_size: int | None,
    concurrency: int | None,
    options: Mapping[str, Any],
    again: bool,
) -> tuple[BatchJob, bool]:
    """As `jobs.create_job`; the uploaded file itself is not kept. A cancelled equal job goes on.

    Raises:
        InvalidRequest: as `jobs.create_job`.
    """
    storage.root().mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="upload-", dir=storage.root()) as folder:
        path = Path(folder) / file_name(file, usual="input")
        with path.open("xb") as target:
            for chunk in file.chunks():
                target.write(chunk)
        request = jobs.JobRequest(
            model=model,
            source=path,
            batch_size=batch_size,
            concurrency=concurrency,
            options=options,
            owner=owner,
            again=again,
        )
        job, new = jobs.create_job(request)
    if not new:
        jobs.resume_job(job)
    return job, new
