"""Whom we ask: targets, the order in which they are tried, and what an attempt's outcome means. Pure.

A *route* is a model's name with its *targets*; each is a provider, a model there, and its prices.

table        from the model that a client asks for to its route
target       one concrete place that can answer
order        listed, weighted, cheapest, fastest, sticky; who is set aside comes last
outcome      what an attempt met, and what follows from it
refusal      what a provider's refusal says, in its own words
circuit      whether a target is asked first, set aside, or on trial
backoff      how long to wait before trying again
retrybudget  how much more load trying again may put on a provider
presets      what is known of providers by name (providers/)

Not owned here: sending anything, or sharing circuits among workers (gateway).
"""
