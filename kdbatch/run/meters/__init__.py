"""What a GPU does while it trains: the time in which it has nothing to do, and its utilisation."""
