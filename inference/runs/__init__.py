"""Runs: what may be asked, what it means here, created, admitted, waited for, measured."""
