"""Django's PostgreSQL with connections that mend themselves."""
