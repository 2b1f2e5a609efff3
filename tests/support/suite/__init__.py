"""How the whole suite is run by several processes: what stays together, what comes first, what is told."""
