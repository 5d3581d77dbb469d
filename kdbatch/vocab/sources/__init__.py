"""Where the videos of data sets are."""
