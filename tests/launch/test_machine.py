"""This machine: GPUs, cores, scheduler, and the environment of a worker."""

import os
import time
from pathlib import Path

import pytest

from kdbatch.launch import machine
from kdbatch.launch.machine import (
    ask,
    default_jobs,
    gpu_maker,
    num_cpus,
    queue_kind,
    visible_gpus,
    worker_env,
)

VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
# Two MI250X as the tools of ROCm print them; rocm-smi warns on standard output.
ROCM_SMI_5 = """WARNING: AMD GPU device(s) is/are in a low-power state. Check power control

{"card0": {"GPU ID": "0x7408"}, "card1": {"GPU ID": "0x7408"}}"""
ROCM_SMI_6 = """{"card0": {"Device Name": "AMD Instinct MI250X", "Device ID": "0x7408",
"Device Rev": "0x01", "Subsystem ID": "0x0b0c", "GUID": "11743"}, "card1": {"Device Name":
"AMD Instinct MI250X", "Device ID": "0x7408", "Device Rev": "0x01", "Subsystem ID": "0x0b0c",
"GUID": "30477"}}"""
AMD_SMI_6 = """[
    {
        "gpu": 0,
        "bdf": "0000:c1:00.0",
        "uuid": "f8ff7408-0000-1000-8025-6f3c1c2f3a6f"
    },
    {
        "gpu": 1,
        "bdf": "0000:c6:00.0",
        "uuid": "caff7408-0000-1000-80b6-2e2d1b2a5d1b"
    }
]"""
AMD_SMI_7 = """[{"gpu": 0, "bdf": "0000:c1:00.0", "uuid": "f8ff7408-0000-1000-8025-6f3c1c2f3a6f",
"kfd_id": 11743, "node_id": 4, "partition_id": 0}, {"gpu": 1, "bdf": "0000:c6:00.0",
"uuid": "caff7408-0000-1000-80b6-2e2d1b2a5d1b", "kfd_id": 30477, "node_id": 5,
"partition_id": 0}]"""


@pytest.fixture
def amd(tmp_path, monkeypatch):
    """Installs a tool of ROCm that prints a text; no variable chooses GPUs, and no kernel driver
    has any.
    """
    monkeypatch.setattr(machine, "KFD_NODES", tmp_path / "nodes")
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)

    def install(name: str = "amd-smi", text: str = AMD_SMI_6) -> Path:
        (tmp_path / name).write_text(f"#!/bin/bash\ncat <<'END'\n{text}\nEND\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path

    return install


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rocm-smi", ROCM_SMI_5),
        ("rocm-smi", ROCM_SMI_6),
        ("amd-smi", AMD_SMI_6),
        ("amd-smi", AMD_SMI_7),
    ],
)
def test_gpus_of_amd_are_those_that_its_tools_list(amd, name, text):
    amd(name, text)
    assert (gpu_maker(), visible_gpus()) == ("AMD", ("0", "1"))


def test_gpus_of_amd_are_counted_by_the_kernel_driver_where_no_tool_is_installed(amd, tmp_path):
    amd("rocm-smi", "WARNING: No JSON data to report")
    for node, units in enumerate((0, 0, 304, 304)):  # two CPUs and two GPUs
        (tmp_path / "nodes" / str(node)).mkdir(parents=True)
        text = f"cpu_cores_count {96 if not units else 0}\nsimd_count {units}\n"
        (tmp_path / "nodes" / str(node) / "properties").write_text(text)
    assert (gpu_maker(), visible_gpus()) == ("AMD", ("0", "1"))


@pytest.mark.parametrize(
    ("given", "gpus"),
    [
        ({"HIP_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"HIP_VISIBLE_DEVICES": ""}, ()),
        # HIP counts anew what ROCR leaves, and prefers its own list to that of CUDA.
        ({"ROCR_VISIBLE_DEVICES": "4,6"}, ("0", "1")),
        ({"ROCR_VISIBLE_DEVICES": "4,6", "HIP_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"ROCR_VISIBLE_DEVICES": "4,6", "CUDA_VISIBLE_DEVICES": "4,6"}, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
    ],
)
def test_the_lists_of_the_environment_hold_for_gpus_of_amd_as_hip_reads_them(
    amd, monkeypatch, given, gpus
):
    amd()
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    assert visible_gpus() == gpus
    if gpus:
        env = worker_env(0, jobs=1, gpus=gpus, pid=1)
        assert env["HIP_VISIBLE_DEVICES"] == gpus[0] and "CUDA_VISIBLE_DEVICES" not in env
        assert env.get("ROCR_VISIBLE_DEVICES") == given.get("ROCR_VISIBLE_DEVICES")


def test_slurms_lists_for_all_makers_mean_cuda_on_a_machine_of_nvidia(driver, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "1")
    assert (gpu_maker(), visible_gpus()) == ("NVIDIA", ("1",))
    env = worker_env(0, jobs=1, gpus=("1",), pid=1)
    assert env["CUDA_VISIBLE_DEVICES"] == "1"


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


def test_an_answer_is_not_kept_waiting_by_what_a_command_leaves_in_the_background():
    start = time.monotonic()
    answer = ask(("sh", "-c", "sleep 20 & echo Submitted; echo warning >&2"), seconds=60)
    assert (answer.text, answer.errors) == ("Submitted\n", "warning\n")
    assert time.monotonic() - start < 15
