"""Decisions while sessions run: the marts' own SQL on the visitors at hand, a policy, and a log of what was shown."""
