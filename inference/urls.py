from __future__ import annotations

from django.contrib import admin
from django.urls import path, re_path

from inference.admin.keys import change_own_password
from inference.views import (
    about,
    batches,
    browsers,
    drains,
    history,
    live,
    models,
    pictures,
    runs,
    telemetry,
)
from inference.views.comparisons import page as compared
from inference.views.comparisons import rest as comparisons
from inference.views.openai import page as chat
from inference.views.trying import page as try_page
from inference.views.trying import rest as tried

urlpatterns = [
    path("api/browsers/", browsers.BrowserList.as_view()),
    path("api/browsers/<str:pk>/", browsers.BrowserDetail.as_view()),
    path("api/browsers/<str:pk>/drain/", drains.BrowserDrain.as_view()),
    path("api/browsers/<str:pk>/undrain/", drains.BrowserUndrain.as_view()),
    path("api/browsers/<str:pk>/breaker/reset/", browsers.BreakerReset.as_view()),
    path("api/models/", models.ModelList.as_view()),
    path("api/models/<str:name>/", models.ModelDetail.as_view()),
    path("api/models/<str:name>/try/", tried.ModelTry.as_view()),
    path("api/plans/", models.PlanList.as_view()),
    path("api/plans/<int:pk>/", models.PlanDetail.as_view()),
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
    path("api/comparisons/", comparisons.ComparisonList.as_view()),
    path("api/comparisons/<str:comparison_id>/", comparisons.ComparisonDetail.as_view()),
    path("api/comparisons/<str:comparison_id>/cancel/", comparisons.ComparisonCancel.as_view()),
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
    path("", about.home, name="home"),
    path("api/schema/", about.Schema.as_view(), name="schema"),
    path("api/docs/", about.Docs.as_view(), name="docs"),
    re_path(r"^api/(?P<path>.+)$", about.NoSuchPath.as_view()),
    path("admin/password_change/", admin.site.admin_view(change_own_password, cacheable=True)),
    path("admin/pool/", admin.site.admin_view(live.page), name="pool"),
    path("admin/pool/rows/", admin.site.admin_view(live.rows)),
    path("admin/pool/hour/", admin.site.admin_view(live.hour)),
    path("admin/pool/<str:browser_id>/", admin.site.admin_view(live.act), name="pool-act"),
    path("admin/compare/<str:name>/", admin.site.admin_view(compared.page), name="compare"),
    path("admin/chat/", admin.site.admin_view(chat.page), name="chat"),
    path("admin/chat/sessions/<str:session_id>/", admin.site.admin_view(chat.session)),
    path("admin/try/<str:name>/", admin.site.admin_view(try_page.page), name="try"),
    path(
        "admin/pictures/latency/",
        admin.site.admin_view(pictures.latency_page),
        name="pictures-latency",
    ),
    path(
        "admin/pictures/scores/",
        admin.site.admin_view(pictures.scores_page),
        name="pictures-scores",
    ),
    path(
        "admin/pictures/regressions/",
        admin.site.admin_view(pictures.regressions_page),
        name="pictures-regressions",
    ),
    path("metrics", telemetry.Metrics.as_view()),
]
