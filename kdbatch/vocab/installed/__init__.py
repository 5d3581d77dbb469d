"""All tables that other distributions add to."""
