"""The report of one or several evaluations: a page that needs nothing else, and every number as JSON."""
