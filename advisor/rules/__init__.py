"""The rules: facts in, advice out. `RULES` is the whole list, in order."""
