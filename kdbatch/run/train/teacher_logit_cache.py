"""Keeps teachers' logits on disk for views that come again.

Beyer et al. 2022, arXiv:2106.05237, sec. 3: a teacher's logits are valid for the view that it was
given and for no other. Axes: M teachers, B clips, K classes, T frames.

One record of fixed size per view and video, at a fixed offset in one file, so that each record can
be read, written or damaged alone, by any number of processes:

    16 bytes   BLAKE2b of the rest of the record, the video's key, the class names and the hashes
               of the teachers' weights
    4 T        stored frames of the clip, int32
    96         augmentation parameters (augment.AugmentParams), float64
    2 M K      logits, float16

That is (112 + 4 T + 2 M K) bytes per video and view: 553 MB for UCF101's 9537 training videos, two
teachers, 16 frames and 100 views, of which the logits of one teacher are 193 MB. The file has holes
where no record was written, such as the offsets of test videos.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.run.data.augment import AugmentParams
from kdbatch.run.data.batch import Batch
from kdbatch.run.train.steps import Teacher

DIGEST_BYTES = 16
DRAW_NUMBERS = 12


class TeacherLogitCache:
    """What `teachers` say of a batch, looked up or asked once.

    A record is believed if its digest is right and its view is, byte for byte, the batch's; a batch
    with any other record is asked for and written anew. Answers are rounded to float16 before their
    first use, so that it does not matter to training whether they were remembered: a run that is
    killed and resumed ends bit for bit as one that never was.
    """

    def __init__(
        self,
        path: Path,
        teachers: Sequence[Teacher],
        *,
        num_views: int,
        classes: Sequence[str],
        weights: Sequence[str],
    ) -> None:
        """`classes` are the names behind the logits, `weights` the sha256 of each teacher's
        weights.
        """
        self._path, self._teachers, self._num_views, self._num_classes = (
            path,
            teachers,
            num_views,
            len(classes),
        )
        self._about = json.dumps([list(classes), list(weights)]).encode()
        self.num_misses = 0
        path.touch()

    def teachers_for(self, batch: Batch, clip_BCTHW: Tensor) -> list[Teacher]:
        """Stand-ins for the teachers that answer for this batch alone. The batch's `extra` says
        which view it is.
        """
        logit_MBK = self._recall(batch)
        if logit_MBK is None:
            self.num_misses += 1
            with torch.no_grad():
                logit_MBK = torch.stack(
                    [teacher(clip_BCTHW).half() for teacher in self._teachers]
                ).cpu()
            self._keep(batch, logit_MBK)
        return [_answering(logit_BK) for logit_BK in logit_MBK.to(clip_BCTHW.device).float()]

    def _recall(self, batch: Batch) -> Tensor | None:
        answers = []
        with self._path.open("rb", buffering=0) as file:
            for key, view, offset, size in self._records(batch):
                raw = os.pread(file.fileno(), size, offset)
                digest, seen, logits = (
                    raw[:DIGEST_BYTES],
                    raw[DIGEST_BYTES : DIGEST_BYTES + len(view)],
                    raw[DIGEST_BYTES + len(view) :],
                )
                if len(raw) != size or seen != view or digest != self._digest(key, seen, logits):
                    return None
                answers.append(
                    np.frombuffer(logits, np.float16).reshape(
                        len(self._teachers), self._num_classes
                    )
                )
        return torch.from_numpy(np.stack(answers, 1))

    def _keep(self, batch: Batch, logit_MBK: Tensor) -> None:
        try:
            with self._path.open("r+b", buffering=0) as file:
                for (key, view, offset, _), logit_MK in zip(
                    self._records(batch), logit_MBK.numpy().transpose(1, 0, 2), strict=True
                ):
                    logits = logit_MK.tobytes()
                    os.pwrite(
                        file.fileno(), self._digest(key, view, logits) + view + logits, offset
                    )
        except OSError as error:
            raise UserError(
                f"{self._path}: cannot be written ({error.strerror}). Make room, or lower teacher_views in the profile."
            ) from error

    def _records(self, batch: Batch) -> list[tuple[str, bytes, int, int]]:
        """(key, view, offset, size) of each clip."""
        frame_BT, places, views = (
            batch.extra["frame_BT"].cpu().numpy().astype("<i4"),
            batch.extra["place"].tolist(),
            batch.extra["view"].tolist(),
        )
        found = []
        for key, draw, frame_T, place, number in zip(
            batch.keys, batch.augment_params, frame_BT, places, views, strict=True
        ):
            view = frame_T.tobytes() + _numbers(draw).tobytes()
            size = DIGEST_BYTES + len(view) + 2 * len(self._teachers) * self._num_classes
            found.append((key, view, (place * self._num_views + number) * size, size))
        return found

    def _digest(self, key: str, view: bytes, logits: bytes) -> bytes:
        made = hashlib.blake2b(self._about, digest_size=DIGEST_BYTES)
        for part in (key.encode(), view, logits):
            made.update(len(part).to_bytes(8, "little") + part)
        return made.digest()


def _numbers(draw: AugmentParams) -> np.ndarray:
    box, *rest = dataclasses.astuple(draw)
    numbers = np.array([*box, *rest], "<f8")
    assert len(numbers) == DRAW_NUMBERS, draw
    return numbers


def _answering(logit_BK: Tensor) -> Teacher:
    return lambda clip_BCTHW: logit_BK
