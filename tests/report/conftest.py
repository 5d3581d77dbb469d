from support.studies import one_seed, partial, shelf, studied, written

__all__ = ["one_seed", "partial", "shelf", "studied", "written"]
