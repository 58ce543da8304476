"""Endpoints of the management and read API, a file for each thing that is asked about."""
