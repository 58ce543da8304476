"""What was used and what it cost: money, units, usage, prices, cost events and where they rest."""
