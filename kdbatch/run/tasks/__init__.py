"""Pretext tasks: how each samples clips, what its model predicts, and its loss.

One file and one line of PRETEXTS for each; parameters and training are in vocab/tasks/.
"""

from kdbatch.run.tasks import cvrl, prp, rotnet, rspnet, tdl, vcop
from kdbatch.run.tasks.pretext import Pretext

PRETEXTS: dict[str, Pretext] = {
    "rotnet": rotnet.PRETEXT,
    "vcop": vcop.PRETEXT,
    "prp": prp.PRETEXT,
    "cvrl": cvrl.PRETEXT,
    "tdl": tdl.PRETEXT,
    "rspnet": rspnet.PRETEXT,
}
