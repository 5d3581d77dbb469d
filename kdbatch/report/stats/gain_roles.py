"""The runs that the figure of gains compares: those of the student, its teachers, its control."""

from kdbatch.report.labels import role_group
from kdbatch.vocab.plans import PlanRecord

GAIN_METRIC = "top1"
CONTROL_ROLE = "labels_only"


def teacher_roles(record: PlanRecord) -> list[str]:
    """Return the roles that a student of the experiment may learn from."""
    return [role for role in record.roles if role_group(role, record.references) == "teacher"]


def gain_runs(record: PlanRecord) -> list[str]:
    """Return the runs of the figure of gains."""
    compared = (*teacher_roles(record), "student", CONTROL_ROLE)
    return [cell.run_id for role in compared for cell in record.cells_of(role)]
