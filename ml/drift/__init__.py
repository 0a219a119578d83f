"""Is the shop still the one that the champion learnt from, and are its probabilities still right?"""
