"""What `manage.py doctor` looks at: each finding with its remedy."""
