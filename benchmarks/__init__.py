"""What a request costs, measured beside nginx in the same minute on the same core.

A **lane** is one kind of load (`lane.py`). A **subject** is what stands between the load generator
(`load.c`) and the provider (`upstream.c`): nginx, the gateway, a peer, or nothing. The **stage** (`stage.py`)
starts and pins all of them and ends them again. A **round** sends one lane's load through every subject in
turn (`contest.py`) and reads the operating system's CPU clocks of their processes before and after
(`process.py`), so that a ratio always compares two measurements a second apart. `figures.py` makes medians
and paired ratios of rounds, `bar.py` judges them for CI, and `instructions.py` counts instructions of the
pure hot functions, and of a whole request between far ends that are not there (`wholerequest.py`,
`farend.py`), where no nginx is at hand.

A **set-up** (`setup.py`) is what a gateway is given: limits, Redis, TLS, workers; a lane names those that it
compares. Lanes that need the same subjects are an **act** (`programme.py`). **Peers** (`peers/`) are other
gateways, started where they are installed. What is not a lane is read once (`once.py`), and `show.json` holds
the bars of the whole, judged by `show.py`. `report.py` writes it all down.

Nothing here is imported by the product, and the product is driven only through its command and its sockets.
"""
