"""How an epoch is cut into batches, and a batch into the shares of processes that train together."""

import numpy as np


def batches_of_epoch(order_N: np.ndarray, *, num_steps: int, world_size: int) -> list[np.ndarray]:
    """`order_N` as `num_steps` batches, each of which `world_size` processes can share evenly:
    process r takes [r::world_size].

    Where the number of videos is no multiple of `world_size`, the first of them come a second time
    at the end (at most world_size - 1; leaving some out instead would leave out others in each
    epoch, and small data sets are dear). So in every epoch every video is read once, every process
    has the same number of clips in each step, and nobody waits at the last step for a process that
    has none. Batches differ by at most world_size videos: no small one at the end that would upset
    batch normalisation.
    """
    num_rows = -(-len(order_N) // world_size)
    assert num_rows >= num_steps, (len(order_N), num_steps, world_size)
    padded = np.resize(order_N, num_rows * world_size)  # repeats from the start
    return [
        rows.reshape(-1) for rows in np.array_split(padded.reshape(num_rows, world_size), num_steps)
    ]
