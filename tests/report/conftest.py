from support.studies import (
    finished_report,
    make_study,
    partial_report,
    study_cache,
    three_seed_report,
    write_study,
)

__all__ = [
    "finished_report",
    "make_study",
    "partial_report",
    "study_cache",
    "three_seed_report",
    "write_study",
]
