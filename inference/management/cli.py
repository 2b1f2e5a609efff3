"""What the commands share: a failure is one line on stderr; exit code 1 for a run that failed, else 2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Generic, TypeVar, cast

import redis.exceptions
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from browsers import locations
from inference.errors import RunFailed, WebpoolError
from inference.models import Entrance
from inference.store import audit
from inference.store.full_disk import is_full
from webpool_site.telling.arguments import no_text

Options = TypeVar("Options")


class WebpoolCommand(BaseCommand):
    """A command whose expected failures end as one clear line.

    Exit code 1: what was asked for was run, and failed. 2: it could not be asked for, or not here.
    """

    requires_system_checks: list[str] = []

    def acting(self, action: str, target: str) -> AbstractContextManager[audit.Said]:
        """Write down in the audit log what the user of the machine does inside."""
        return audit.acting(Entrance.COMMAND, audit.machine_user(), action, target)

    def execute(self, *args: object, **options: object) -> str | None:
        if wrong := no_text(options):
            raise CommandError(wrong, returncode=2)
        try:
            return super().execute(*args, **options)
        except RunFailed as error:
            raise CommandError(str(error), returncode=1) from error
        except WebpoolError as error:
            raise CommandError(str(error), returncode=2) from error
        except redis.exceptions.ResponseError as error:
            raise CommandError(
                f"Redis refuses ({error}); see `{locations.PROGRAM} doctor`", returncode=2
            ) from error
        except redis.exceptions.RedisError as error:
            raise CommandError(
                f"Redis does not answer ({error}); start the pool with `{locations.UP}`",
                returncode=2,
            ) from error
        except (OSError, OperationalError) as error:
            if is_full(error):
                raise CommandError(
                    "the disk is full; nothing was kept: free some and try again", returncode=2
                ) from error
            if isinstance(error, OSError):
                if error.filename is None:
                    raise
                raise CommandError(f"{error.filename}: {error.strerror}", returncode=2) from error
            raise CommandError(
                f"the database cannot be used ({error}); see `{locations.PROGRAM} doctor`",
                returncode=2,
            ) from error


class TypedCommand(WebpoolCommand, ABC, Generic[Options]):
    """A command whose options have types: `Options` is a TypedDict of what its parser gives."""

    def handle(self, *_: object, **options: object) -> None:
        self.carry_out(cast("Options", options))

    @abstractmethod
    def carry_out(self, options: Options) -> None:
        """What the command does."""
