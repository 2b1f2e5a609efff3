"""The steps of `manage.py setup`: each looks first and does only what is missing."""
