"""What the commands share: a failure is one line on stderr and exit code 2."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import redis.exceptions
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from inference.errors import WebpoolError
from inference.models import Entrance
from inference.store import audit


class WebpoolCommand(BaseCommand):
    """A command whose expected failures end as one clear line and exit code 2."""

    requires_system_checks: list[str] = []

    def acting(self, action: str, target: str) -> AbstractContextManager[audit.Said]:
        """Write down in the audit log what the user of the machine does inside."""
        return audit.acting(Entrance.COMMAND, audit.machine_user(), action, target)

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except WebpoolError as error:
            raise CommandError(str(error), returncode=2) from error
        except redis.exceptions.ResponseError as error:
            raise CommandError(
                f"Redis refuses ({error}); see `manage.py doctor`", returncode=2
            ) from error
        except redis.exceptions.RedisError as error:
            raise CommandError(
                f"Redis does not answer ({error}); start the pool with `make up`", returncode=2
            ) from error
        except OperationalError as error:
            raise CommandError(
                f"the database cannot be used ({error}); see `manage.py doctor`", returncode=2
            ) from error
