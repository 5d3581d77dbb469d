"""Distillation from ensembles of self-supervised video networks, from raw videos to claims."""

TYPE_CHECKING = False  # as in typing, whose import would keep Ctrl-C from being quiet for longer
if TYPE_CHECKING:
    from kdbatch.result.outside import write_results
    from kdbatch.run.cka.feature_matrices import cka, rsa
    from kdbatch.run.data.open_shards import open_shards

__version__ = "0.2.0"
__all__ = ["__version__", "cka", "open_shards", "rsa", "write_results"]


def __getattr__(name: str) -> object:
    """Import a function when it is used: all but `write_results` need torch, which a login node
    does not have.
    """
    try:
        if name == "write_results":
            from kdbatch.result.outside import write_results  # noqa: PLC0415

            return write_results
        if name == "open_shards":
            from kdbatch.run.data.open_shards import open_shards  # noqa: PLC0415

            return open_shards
        if name in ("cka", "rsa"):
            from kdbatch.run.cka import feature_matrices  # noqa: PLC0415

            return getattr(feature_matrices, name)
    except ModuleNotFoundError as error:
        message = f"kdbatch.{name} needs {error.name}: pip install 'kdbatch[worker]'"
        raise ModuleNotFoundError(message, name=error.name) from error
    raise AttributeError(f"module 'kdbatch' has no attribute {name!r}")
