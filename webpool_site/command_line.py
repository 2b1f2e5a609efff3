"""webpool's command line: `webpool add-model x.onnx`, and `manage.py add_model x.onnx` in a checkout."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command that the process's arguments name."""
    # Set-up runs other programs' installers, whose files everybody may need.
    if sys.argv[1:2] != ["setup"]:
        os.umask(0o077)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webpool_site.settings")
    from django.core.management import execute_from_command_line

    name = sys.argv[1:2]
    if name and not name[0].startswith("-"):
        name = [name[0].replace("-", "_")]
    execute_from_command_line([sys.argv[0], *name, *sys.argv[2:]])


if __name__ == "__main__":
    main()
