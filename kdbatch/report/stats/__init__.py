"""Statistics of the report: bootstrap over test videos and seeds, comparisons, claims."""
