"""The squared difference of logits as a loss of distillation."""

from torch import Tensor

from kdbatch.run.distributed.process_group import ProcessGroup


def logit_mse(
    student_BK: Tensor,
    teacher_BK: Tensor,
    label_B: Tensor,
    *,
    terms: tuple[float, ...],
    group: ProcessGroup,
) -> Tensor:
    """The loss of each clip (B): half of the squared distance of the logits of K classes.

    Kim et al. 2021, arXiv:2105.08919. Logits arrive divided by the temperature, and kdbatch
    multiplies the loss by its square, so that the temperature cancels. `terms` are the weights
    in the job file (`loss_terms`), and `group` are the processes that share the batch.
    """
    return terms[0] * (student_BK - teacher_BK).square().sum(1) / 2
