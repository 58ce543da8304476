"""Data only: dated provider prices and the schema they keep. No code lives here."""
