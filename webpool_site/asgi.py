"""The ASGI application: `/v2` and request limits in front, Django behind, static files included.

Serving static files here means that loopback needs no front server.
"""

from __future__ import annotations

import os
from typing import Any, cast

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
_django = ASGIStaticFilesHandler(get_asgi_application())

from django.conf import settings  # noqa: E402

from inference.views.cors import for_pages  # noqa: E402  (needs the apps to be loaded)
from inference.views.front import front  # noqa: E402

application = for_pages(front(cast("Any", _django)), settings.WEBPOOL_CORS_ORIGINS)
