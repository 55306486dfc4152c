"""What all tests share."""

from hypothesis import settings

# A busy machine is no failure: how long an example takes says nothing about whether it is right
settings.register_profile("project", deadline=None)
settings.load_profile("project")
