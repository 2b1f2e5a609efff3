"""A browser that was launched here: its driver, display, processes, end."""
