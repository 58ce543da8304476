"""The read plane: figures derived from recorded cost events.

    question   what is asked: dimensions and a span of time
    figures    exact sums, and the ratios that follow from them
    layout     a report as a table, CSV or JSON
    eventline  one event as a line
    regroup    rows of sums under other names
    calendar   days and months of a time zone as spans
    growth     whose spending runs away from its own average
    waste      what was paid for nothing, by what came of it
    itemized   cost by what was counted
    simulation recorded requests at other prices or models
    exporting  an export: which rows, in which format, as parts of a file
    export     what its rows say of events, attempts and bills
    focus      the same as FOCUS 1.2
    columns    its columns, and their cells as CSV and JSON lines
    parquet    and as Parquet, where pyarrow is installed

Everything here is pure; what it works on comes from metering.
"""
