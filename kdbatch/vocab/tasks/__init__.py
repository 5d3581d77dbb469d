"""What self-supervision predicts: a file and a line of TASKS for each pretext task. What it does to
clips is in run/tasks/.
"""

from kdbatch.vocab.tasks import cvrl, prp, rotnet, rspnet, tdl, vcop
from kdbatch.vocab.tasks.cvrl import CVRL
from kdbatch.vocab.tasks.prp import PRP
from kdbatch.vocab.tasks.rotnet import RotNet
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.tasks.spec import Complexity, TaskSpec
from kdbatch.vocab.tasks.tdl import TDL
from kdbatch.vocab.tasks.vcop import VCOP

__all__ = [
    "CVRL",
    "PRP",
    "TASKS",
    "TDL",
    "VCOP",
    "Complexity",
    "PretextTask",
    "RSPNet",
    "RotNet",
    "TaskSpec",
]

PretextTask = RotNet | VCOP | PRP | CVRL | TDL | RSPNet

TASKS: dict[str, TaskSpec] = {
    "rotnet": rotnet.SPEC,
    "vcop": vcop.SPEC,
    "prp": prp.SPEC,
    "cvrl": cvrl.SPEC,
    "tdl": tdl.SPEC,
    "rspnet": rspnet.SPEC,
}
