"""Networks, tasks, weightings and losses of other installed distributions."""
