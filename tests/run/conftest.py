from support.clips import all_shards
from support.torch_state import one_thread
from support.toys import toys

__all__ = ["all_shards", "one_thread", "toys"]
