"""Django's part of the address space; /v2/ is answered before it (inference/views/front.py)."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

admin.autodiscover()
urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("", include("inference.urls")),  # before the admin, whose last pattern takes every path
    path("admin/", admin.site.urls),
]
