"""The words that every room shares: frozen, keyword-only dataclasses and the few functions that read them. Stdlib only."""
