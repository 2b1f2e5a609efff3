#!/usr/bin/env python
"""webpool's command line: `manage.py help` lists the commands."""

from webpool_site.command_line import main

if __name__ == "__main__":
    main()
