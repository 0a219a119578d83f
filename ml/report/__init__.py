"""The report: five pages in one HTML file that needs no network."""
