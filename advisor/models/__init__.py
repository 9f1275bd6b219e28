"""Physics and cost as pure functions: units in the names, the source in each docstring."""
