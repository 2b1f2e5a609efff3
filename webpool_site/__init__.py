import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from browsers import locations

try:
    from webpool_site.celery import app as celery_app
except ImproperlyConfigured as error:
    # The settings are read here first. Who gave a command is told in a line; a script gets the exception.
    if Path(sys.argv[0]).name != locations.PROGRAM:
        raise
    print(f"CommandError: {error}", file=sys.stderr)
    sys.exit(2)

__all__ = ["celery_app"]
