from support.toys import tiny, toys

__all__ = ["tiny", "toys"]
