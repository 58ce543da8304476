from hypothesis import settings

# Shared machines make wall times meaningless; what is slow is seen in the durations, not in a deadline.
settings.register_profile("tollkeeper", deadline=None)
settings.load_profile("tollkeeper")
