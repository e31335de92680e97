"""What holds for every test: on a shared machine an example may take any time, so Hypothesis sets none of them a deadline."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")
