"""Django's part of the address space; /v2/ is answered before it (inference/views/front.py)."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

admin.autodiscover()
urlpatterns = [
    path("", include("inference.urls")),  # before the admin, whose last pattern takes every path
    path("admin/", admin.site.urls),
]
