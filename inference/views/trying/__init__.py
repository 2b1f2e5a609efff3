"""A model tried: by a form of the admin, and by programs.

given.py   what a form of either has
rest.py    /api/models/NAME/try/
page.py    /admin/try/NAME/
"""
