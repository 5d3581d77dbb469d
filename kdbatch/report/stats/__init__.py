"""Statistics of the report: the bootstrap over test videos and seeds, comparisons, claims."""
