"""Plans: what experiments declare, the runs that they need, and the records of those submitted."""
