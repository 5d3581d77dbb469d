"""Logits of teachers that are cached on disk, or that somebody recorded who ran one elsewhere.

The cache is for augmented views that are repeated in later epochs.

Beyer et al. 2022, arXiv:2106.05237, sec. 3: a teacher's logits are valid for the view that it was
given and for no other. Axes: M teachers, B clips, K classes, T frames.

One record of fixed size per view and video, at a fixed offset in one file, so that each record can
be read, written or damaged alone, by any number of processes:

    16 bytes   BLAKE2b of the rest of the record, the video's key, the class names and the hashes
               of the teachers' weights
    4 T        stored frames of the clip, int32
    96         augmentation parameters (AugmentParams), float64
    2 M K      logits, float16

That is (112 + 4 T + 2 M K) bytes per video and view: 553 MB for UCF101's 9537 training videos, two
teachers, 16 frames and 100 views, of which the logits of one teacher are 193 MB. The file has holes
where no record was written, such as the offsets of test videos.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.base.disk_space import disk_full_error
from kdbatch.base.errors import UserError
from kdbatch.run.data.augment_params import AugmentParams
from kdbatch.run.data.batch import Batch
from kdbatch.run.train.steps import Teacher

DIGEST_BYTES = 16
NUM_AUGMENT_NUMBERS = 12


@dataclass(frozen=True, kw_only=True)
class _Record:
    """The position of a clip's record in the file, and the view that the record must hold."""

    key: str
    view: bytes
    offset: int
    size: int


class TeacherLogitCache:
    """The logits of `teachers` for a batch, from the file or, on a miss, computed and stored.

    A record is used if its digest is right and its view is, byte for byte, the batch's; if any
    record of a batch is not, the whole batch is computed and stored again. Logits are rounded to
    float16 before their first use, so a cached batch trains exactly as a computed one: a run that
    is killed and resumed equals an uninterrupted run bit for bit.
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
        self._path, self._teachers, self._num_views = path, teachers, num_views
        self._num_classes = len(classes)
        self._context = json.dumps([list(classes), list(weights)]).encode()
        self.num_misses = 0
        path.touch()

    def teachers_for(self, batch: Batch, clip_BCTHW: Tensor) -> list[Teacher]:
        """Stand-ins for the teachers, which return this batch's logits for any clips.

        The batch's `extra` identifies its view: `frame_BT`, `position`, `view`.

        Raises:
            DiskFullError: no space is left for the file.
            UserError: it cannot be written for another reason.
        """
        logit_MBK = self._read(batch)
        if logit_MBK is None:
            self.num_misses += 1
            with torch.no_grad():
                logits = [teacher(clip_BCTHW).half() for teacher in self._teachers]
            logit_MBK = torch.stack(logits).cpu()
            self._write(batch, logit_MBK)
        return [_constant(logit_BK) for logit_BK in logit_MBK.to(clip_BCTHW.device).float()]

    def _read(self, batch: Batch) -> Tensor | None:
        """The logits of a batch, or None where one of its records is missing or does not match."""
        shape = len(self._teachers), self._num_classes
        found = []
        with self._path.open("rb", buffering=0) as file:
            for record in self._records(batch):
                raw = os.pread(file.fileno(), record.size, record.offset)
                logits_start = DIGEST_BYTES + len(record.view)
                digest, view = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:logits_start]
                logits = raw[logits_start:]
                if len(raw) != record.size or view != record.view:
                    return None
                if digest != self._digest(record, logits):
                    return None
                found.append(np.frombuffer(logits, np.float16).reshape(shape))
        return torch.from_numpy(np.stack(found, 1))

    def _write(self, batch: Batch, logit_MBK: Tensor) -> None:
        logit_BMK = logit_MBK.numpy().transpose(1, 0, 2)
        try:
            with self._path.open("r+b", buffering=0) as file:
                for record, logit_MK in zip(self._records(batch), logit_BMK, strict=True):
                    logits = logit_MK.tobytes()
                    raw = self._digest(record, logits) + record.view + logits
                    os.pwrite(file.fileno(), raw, record.offset)
        except OSError as error:
            if full := disk_full_error(error, path=self._path):
                raise full from error
            raise UserError(
                f"{self._path}: cannot be written ({error.strerror}). "
                "Repair that, or set teacher_views in the profile to 0."
            ) from error

    def _records(self, batch: Batch) -> list[_Record]:
        """The record of each clip."""
        frame_BT = batch.extra["frame_BT"].cpu().numpy().astype("<i4")
        positions, view_numbers = batch.extra["position"].tolist(), batch.extra["view"].tolist()
        records = []
        for key, params, frame_T, position, view_number in zip(
            batch.keys, batch.augment_params, frame_BT, positions, view_numbers, strict=True
        ):
            view = frame_T.tobytes() + _augment_numbers(params).tobytes()
            size = DIGEST_BYTES + len(view) + 2 * len(self._teachers) * self._num_classes
            offset = (position * self._num_views + view_number) * size
            records.append(_Record(key=key, view=view, offset=offset, size=size))
        return records

    def _digest(self, record: _Record, logits: bytes) -> bytes:
        digest = hashlib.blake2b(self._context, digest_size=DIGEST_BYTES)
        for part in (record.key.encode(), record.view, logits):
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.digest()


class RecordedLogits(nn.Module):
    """The logits of a teacher that was run elsewhere, for videos and views of them.

    Which clip of a video a view was is not known here: the clips that the student sees in epoch e
    go with view e modulo V (a fixed teacher, Beyer et al. 2022, sec. 3). Its state is the weights
    of an import. Axes: N videos, V views.
    """

    def __init__(self, place_N: Tensor, logit_NVK: Tensor) -> None:
        """`place_N` are the videos' positions in their part, in rising order."""
        super().__init__()
        self.place_N: Tensor
        self.logit_NVK: Tensor
        self.register_buffer("place_N", place_N)
        self.register_buffer("logit_NVK", logit_NVK)

    def teacher_of(self, batch: Batch) -> Teacher:
        """A stand-in for the teacher, which returns this batch's logits for any clips."""
        position_B, view_B = (batch.extra[n].to(self.place_N.device) for n in ("position", "view"))
        row_B = torch.searchsorted(self.place_N, position_B)
        return _constant(self.logit_NVK[row_B, view_B % self.logit_NVK.shape[1]])


def teachers_of(
    batch: Batch,
    clip_BCTHW: Tensor,
    teachers: Sequence["Teacher | RecordedLogits"],
    *,
    cache: TeacherLogitCache | None,
) -> list[Teacher]:
    """The teachers, to be asked about the clips of a batch; `cache` is that of those that compute,
    if they have one.
    """
    computing = [t for t in teachers if not isinstance(t, RecordedLogits)]
    answering = iter(cache.teachers_for(batch, clip_BCTHW) if cache else computing)
    return [
        teacher.teacher_of(batch) if isinstance(teacher, RecordedLogits) else next(answering)
        for teacher in teachers
    ]


def _augment_numbers(params: AugmentParams) -> np.ndarray:
    box, *others = params
    numbers = np.array([*box, *others], "<f8")
    assert len(numbers) == NUM_AUGMENT_NUMBERS, params
    return numbers


def _constant(logit_BK: Tensor) -> Teacher:
    return lambda clip_BCTHW: logit_BK
