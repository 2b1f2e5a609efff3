#!/usr/bin/env python
"""webpool's command line: `manage.py help` lists the commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    # Set-up runs other programs' installers, whose files everybody may need.
    if sys.argv[1:2] != ["setup"]:
        os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
