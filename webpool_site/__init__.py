__version__ = "0.1.0"  # its one place: the package and the published schema take it from here

from webpool_site.celery import app as celery_app

__all__ = ["__version__", "celery_app"]
