"""Networks, tasks, weightings and losses of other distributions: what is installed, and tried."""
