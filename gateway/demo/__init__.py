"""`tollkeeper demo`: mixed traffic of several customers through a whole installation, and its bill.

    session       the order of it: start, send, wait, compare, stop; start reading here
    traffic       which requests are sent, and when: a function of the seed. Pure
    keys          a key with a budget for each customer
    plans         what each customer pays
    installation  `tollkeeper serve` as a child process, with the simulated provider
    drive         sends the plan, and counts what came back
    display       progress while it runs, and how tables are printed
    audit         the cost events beside the provider's bill, request by request. Pure
    closing       the tables and verdicts at the end. Pure
    earnings      the margins of what just ran, and whether the plans say the same. Pure

The installation is the product as it is delivered. The demo sees it as a client does, and afterwards as an
operator does: through the event store, the ledger's counters and the provider's bill.
"""
