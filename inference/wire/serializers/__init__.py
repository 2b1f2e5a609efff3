"""What /api/ shows of rows and live state; what nobody measured is null."""
