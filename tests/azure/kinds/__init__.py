"""One module per kind of resource: its routes, its rules, and how it looks."""
