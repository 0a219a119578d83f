"""The report: four pages in one HTML file that needs no network."""
