"""A model written otherwise, with the same meaning: for older runtimes, with weights as inputs."""
