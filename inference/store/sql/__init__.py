"""SQL that is written here, as statements over a model's columns or as files, and how it is run."""
