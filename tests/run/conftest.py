from support.clips import all_shards
from support.torch_state import one_thread

__all__ = ["all_shards", "one_thread"]
