"""A synthetic shop, calibrated to published RetailRocket figures."""
