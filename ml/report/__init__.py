"""The report: its pages in one HTML file that needs no network."""
