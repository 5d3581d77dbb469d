"""Commands about stored videos."""
