"""The read plane: figures derived from recorded cost events.

    question   what is asked: dimensions and a span of time
    figures    exact sums, and the ratios that follow from them
    layout     a report as a table, CSV or JSON
    eventline  one event as a line

Everything here is pure; the rows come from metering.eventstore.
"""
