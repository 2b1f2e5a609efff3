from __future__ import annotations

from django.contrib import admin
from django.urls import path, re_path

from inference.views import batches, drains, history, live, pictures, runs, telemetry

urlpatterns = [
    path("api/browsers/", runs.BrowserList.as_view()),
    path("api/browsers/<str:pk>/", runs.BrowserDetail.as_view()),
    path("api/browsers/<str:pk>/drain/", drains.BrowserDrain.as_view()),
    path("api/browsers/<str:pk>/undrain/", drains.BrowserUndrain.as_view()),
    path("api/browsers/<str:pk>/breaker/reset/", runs.BreakerReset.as_view()),
    path("api/models/", runs.ModelList.as_view()),
    path("api/models/<str:name>/", runs.ModelDetail.as_view()),
    path("api/plans/", runs.PlanList.as_view()),
    path("api/plans/<int:pk>/", runs.PlanDetail.as_view()),
    path("api/runs/", runs.RunList.as_view()),
    path("api/runs/<str:run_id>/", runs.RunDetail.as_view()),
    path("api/runs/<str:run_id>/outputs/", runs.RunOutputs.as_view()),
    path("api/runs/<str:run_id>/cancel/", runs.RunCancel.as_view()),
    path("api/batches/", batches.BatchJobList.as_view()),
    path("api/batches/<str:job_id>/", batches.BatchJobDetail.as_view()),
    path("api/batches/<str:job_id>/batches/", batches.BatchList.as_view()),
    path("api/batches/<str:job_id>/output/", batches.BatchJobOutput.as_view()),
    path("api/batches/<str:job_id>/cancel/", batches.BatchJobCancel.as_view()),
    path("api/batches/<str:job_id>/resume/", batches.BatchJobResume.as_view()),
    path("api/shards/", runs.ShardList.as_view()),
    path("api/shards/<int:pk>/", runs.ShardDetail.as_view()),
    path("api/telemetry/", telemetry.Telemetry.as_view()),
    path("api/history/performance/", history.Performance.as_view()),
    path("api/history/recommendation/", history.Recommendation.as_view()),
    path("api/history/scores/", history.Scores.as_view()),
    path("api/history/comparison/", history.Comparison.as_view()),
    path("api/history/trends/", history.Trends.as_view()),
    path("api/history/anomalies/", history.Anomalies.as_view()),
    path("api/history/anomalies/judge/", history.Judgement.as_view()),
    path("api/history/regressions/", history.Regressions.as_view()),
    path("api/schema/", runs.Schema.as_view(), name="schema"),
    path("api/docs/", runs.Docs.as_view(), name="docs"),
    re_path(r"^api/(?P<path>.+)$", runs.NoSuchPath.as_view()),
    path("admin/pool/", admin.site.admin_view(live.page), name="pool"),
    path("admin/pool/rows/", admin.site.admin_view(live.rows)),
    path("admin/pool/<str:browser_id>/", admin.site.admin_view(live.act)),
    path("admin/pictures/latency/", admin.site.admin_view(pictures.latency_page)),
    path("admin/pictures/scores/", admin.site.admin_view(pictures.scores_page)),
    path("admin/pictures/regressions/", admin.site.admin_view(pictures.regressions_page)),
    path("metrics", telemetry.Metrics.as_view()),
]
