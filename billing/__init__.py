"""Revenue and margin: what customers owe, beside what they cost.

    period    billing periods: calendar months in a plan's zone
    fees      a plan's own price, earned evenly over its periods (pure)
    tiers     graduated prices and packages, by what a period has used (pure)
    stamp     the revenue of one event, as it is recorded with it (pure)
    ratebook  prices and subscriptions from SQL, for `stamp`
    charges   what is owed beside the events, for a span of time (pure)
    margin    revenue beside cost, by any dimension (pure)
    pnl       one customer's profit and loss (pure)
    chargebook, marginbook
              charges, and margins, from the record

Amounts are whole nano-USD. What is not known is None with a reason, never 0. docs/revenue.md has the rules.
"""
