"""Backup and restore of an installation: its record, what the ledger alone knows, and what is on the way.

    manifest   what a backup says of itself
    archive    the file: one compressed archive, checked whole before anything is put in place
    hotstate   our keys in Redis, as lines, and back
    copies     the database and the files of the data directory, copied while they are in use
    making     a backup, in the order that loses nothing
    restoring  an installation from it

What is told moves one way: journal, outbox, spill, database. Copies are made in that order, so that what has
moved on since one of them is in a later one; what is in two of them is stored once, because it has an id.
"""
