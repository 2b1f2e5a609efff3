"""What is measured of texts, beside their speed."""
