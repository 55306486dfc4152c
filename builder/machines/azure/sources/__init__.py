"""The sources of Azure builds: one resolver a kind, from the spec's words to an exact `ResolvedSource`."""
