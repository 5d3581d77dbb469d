"""This machine: GPUs, cores, scheduler, and the environment of a worker."""

import os

import pytest

from kdbatch.launch.machine import default_jobs, num_cpus, queue_kind, visible_gpus, worker_env


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine with two GPUs, one of them in slices."""
    gpus = "GPU 0: NVIDIA H200 (UUID: GPU-1)\\nGPU 1: NVIDIA H200 (UUID: GPU-2)\\n"
    lines = f"{gpus}  MIG 1g.18gb Device 0: (UUID: MIG-3)\\n"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/bash\nprintf '{lines}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_are_those_that_the_driver_lists(driver):
    assert visible_gpus() == ("0", "1") and default_jobs() == 2


@pytest.mark.parametrize("script", ["printf 'GPUs: \\374\\n'; exit 9", ""])
def test_a_driver_that_answers_with_no_list_has_no_gpus(driver, tmp_path, script):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/bash\n{script}\n" if script else "")
    assert visible_gpus() == ()


@pytest.mark.parametrize(
    ("variable", "gpus"), [("2,3", ("2", "3")), ("GPU-1", ("GPU-1",)), ("", ()), ("-1", ())]
)
def test_the_environments_list_of_gpus_takes_precedence(driver, monkeypatch, variable, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == gpus
    assert default_jobs() == (len(gpus) or num_cpus())


def test_the_queue_is_slurm_where_sbatch_is_a_command(slurm, monkeypatch):
    assert queue_kind() == "slurm"
    monkeypatch.setenv("PATH", "/nowhere")
    assert queue_kind() == "local"


def test_workers_get_the_gpus_in_turn_and_threads_by_device(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [
        worker_env(slot, jobs=3, gpus=("4", "6"), pid=1)["CUDA_VISIBLE_DEVICES"]
        for slot in range(3)
    ] == ["4", "6", "4"]
    assert worker_env(0, jobs=1, gpus=("4",), pid=1)["OMP_NUM_THREADS"] == str(num_cpus())
    assert worker_env(0, jobs=1, gpus=(), pid=1)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert worker_env(0, jobs=1, gpus=(), pid=1)["OMP_NUM_THREADS"] == "7"


def test_a_worker_gets_the_process_id_of_its_queue():
    assert worker_env(0, jobs=1, gpus=(), pid=os.getpid())["KDBATCH_PARENT_PID"] == str(os.getpid())
