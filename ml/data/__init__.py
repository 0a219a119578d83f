"""Rows in: which columns are features, the rows, their splits, and the gates."""
