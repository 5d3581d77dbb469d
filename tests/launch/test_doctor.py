"""`init` and `doctor`, on this machine and against a fake site on PATH; the probe as a real
process.
"""

import os
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.launching import config_in
from support.wait import wait_until

from kdbatch import __version__
from kdbatch.base.atomic_write import load_json
from kdbatch.base.parse import parse
from kdbatch.launch.checks.doctor import run_checks
from kdbatch.launch.checks.node_check import NodeReport, _findings, submit_node_check
from kdbatch.launch.init_config import DetectedSite, config_text, detect_site, write_config
from kdbatch.launch.slurm.cluster_info import parse_time_limit, partitions, slurm_settings
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.vocab.config import Config, Container, Site
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.sources.dataset_source import DatasetSource

ROOT = Path(__file__).parents[2]
SINFO = """cpu*|1-00:00:00|(null)
gpu|2-12:00:00|gpu:h200:8(S:0-1)
gpu|2-12:00:00|gpu:a100:4
all|infinite|gpu:2
"""
SETTINGS = """Configuration data as of 2026-01-01T00:00:00
KillWait                = 30 sec
MaxArraySize            = 501
ProctrackType           = proctrack/{track}
SlurmctldParameters     = (null)
SLURM_VERSION           = 22.05.8
AccountingStorageType   = accounting_storage/none
"""


@pytest.fixture
def site(slurm: Path):
    """A cluster whose sinfo and `scontrol show config` answer; `site("linuxproc")` says how it
    tracks processes.
    """

    def write(track: str) -> Path:
        (slurm / "scontrol").write_text(
            f"#!/bin/bash\ncat <<'END'\n{SETTINGS.format(track=track)}END\n"
        )
        (slurm / "sinfo").write_text(f"#!/bin/bash\ncat <<'END'\n{SINFO}END\n")
        (slurm / "sinfo").chmod(0o755)
        return slurm

    return write


def bad(config: Config) -> list[str]:
    return [
        f"{finding.subject}: {finding.message}"
        for finding in run_checks(config)
        if finding.severity == "bad"
    ]


def test_partitions_are_read_with_their_limits_and_kinds_of_gpu(site):
    site("cgroup")
    found = {p.name: p for p in partitions()}
    assert [p.name for p in found.values() if p.is_default] == ["cpu"]
    assert (found["cpu"].has_gpus, found["all"].has_gpus, found["all"].gpu_types) == (
        False,
        True,
        (),
    )
    assert (found["gpu"].minutes, found["gpu"].gpu_types) == (3600, ("h200", "a100"))


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", 0), ("30:00", 30), ("2:30:00", 150), ("7-00:00:00", 10_080), ("n/a", 0)],
)
def test_a_time_limit_in_the_notation_of_slurm(limit, minutes):
    assert parse_time_limit(limit) == minutes


def test_without_slurm_nothing_is_known(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert (partitions(), slurm_settings()) == ((), {})


@pytest.mark.parametrize("here", [True, False])
def test_the_written_file_has_the_detected_values(site, tmp_path, monkeypatch, here):
    seen = DetectedSite()
    if here:
        site("cgroup")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        seen = detect_site()
    assert write_config(tmp_path / "kdbatch.toml", seen)
    text = (tmp_path / "kdbatch.toml").read_text()
    config = parse(Config, tomllib.loads(text), where="kdbatch.toml")
    assert (config.site.partition, config.site.max_array_size) == (
        ("gpu", 501) if here else (None, 1000)
    )
    assert config.resources["pretrain"] == Resources()
    assert replace(config, site=Site(), resources={}) == Config()
    fields = ("# [", "# root", "# path", "# max", "# layout", "# table")
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith(fields) else line for line in text.splitlines()
    )
    assert set(parse(Config, tomllib.loads(uncommented), where="kdbatch.toml").datasets) == {
        "k400",
        "ssv2",
        "ucf101",
        "hmdb51",
        "gestures",
        "dives",
    }


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "kdbatch.toml").write_text("mine")
    assert not write_config(tmp_path / "kdbatch.toml", DetectedSite())
    assert (tmp_path / "kdbatch.toml").read_text() == "mine"


def test_without_a_partition_a_gpu_is_the_default():
    assert "gpus = 1\n" in config_text(DetectedSite()) and 'gpu = "nv"' in config_text(
        DetectedSite()
    )


def test_a_site_that_fits_has_nothing_bad(site, tmp_path):
    site("cgroup")
    config = config_in(tmp_path, site=Site(partition="gpu", gpu_type="h200", max_array_size=500))
    assert bad(config) == []
    told = {f"{f.subject}: {f.message}" for f in run_checks(config)}
    assert any("30 s (KillWait) to save its progress" in line for line in told)
    assert any(line.startswith("accounting: no accounting") for line in told)


def test_each_problem_is_named_with_its_remedy(site, tmp_path):
    site("cgroup")
    config = config_in(tmp_path, site=Site(partition="gpu", gpu_type="h100"))
    config = replace(
        config,
        resources={"pretrain": Resources(minutes=4000)},
        datasets={"k400": DatasetSource(root="/nowhere")},
    )
    assert bad(config) == [
        "arrays: SLURM's MaxArraySize is 501: write max_array_size = 501 under [site]",
        "resources.pretrain: 4000 minutes are more than gpu's 3600",
        "gpu_type: gpu has no 'h100', but h200, a100",
    ]
    assert "partition: there is no 'gpuu'. Known: cpu, gpu, all" in bad(
        replace(config, site=Site(partition="gpuu", max_array_size=1))
    )


@pytest.mark.parametrize(
    ("track", "image", "named"),
    [("linuxproc", True, True), ("linuxproc", False, False), ("cgroup", True, False)],
)
def test_the_process_tracking_that_breaks_signals_in_images_is_named(
    site, tmp_path, track, image, named
):
    site(track)
    (tmp_path / "kd.sif").touch()
    container = (
        Container(
            image=str(tmp_path / "kd.sif"), env={"PYTHONPATH": str(Path(__file__).parents[2])}
        )
        if image
        else Container()
    )
    config = replace(config_in(tmp_path, site=Site(max_array_size=1)), container=container)
    assert [line for line in bad(config) if "proctrack/linuxproc" in line] == bad(config)
    assert bool(bad(config)) == named


def test_an_image_of_another_version_is_named(site, tmp_path):
    cluster = site("cgroup")
    (cluster / "apptainer").write_text(
        '#!/bin/bash\n[ $1 = --version ] && echo apptainer 9 || echo \'["0.0.1", "1.0", "3.9"]\'\n'
    )
    (tmp_path / "kd.sif").touch()
    config = replace(
        config_in(tmp_path, site=Site(max_array_size=1)),
        container=Container(image=str(tmp_path / "kd.sif")),
    )
    assert [line.split(",")[0] for line in bad(config)] == [
        "image: kdbatch 0.0.1",
        "image: submitit 1.0",
    ]


def _image_findings(cluster: Path, tmp_path: Path, printed: bytes) -> list[str]:
    """The lines of doctor about an image in which Python prints this, and of its runtime."""
    (cluster / "printed").write_bytes(printed)
    (cluster / "apptainer").write_text(
        "#!/bin/bash\ncase $* in *codec_check) echo hello; echo 16.0;;\n"
        f"--version) printf 'Gr\\374\\337e\\napptainer version 9.1\\n';; "
        f"*) cat {cluster}/printed;; esac\n"
    )
    (tmp_path / "kd.sif").touch()
    config = replace(
        config_in(tmp_path, site=Site(max_array_size=1)),
        container=Container(image=str(tmp_path / "kd.sif")),
    )
    shown = [f for f in run_checks(config) if f.subject in ("container", "image", "video")]
    return [f"{f.severity} {f.subject}: {f.message}" for f in shown]


def test_an_images_versions_are_found_between_lines_that_it_prints(site, tmp_path):
    versions = f'["{__version__}", "{version("submitit")}"]\n'.encode()
    noise = b"INFO: gocryptfs not found\n[1, 2]\n[[[\nGr\xfc\xdfe \033[1m\n"
    assert _image_findings(site("cgroup"), tmp_path, noise + versions + b"bye\n") == [
        f"ok container: apptainer version 9.1, {tmp_path}/kd.sif",
        f"ok image: kdbatch {__version__}",
        f"ok image: submitit {version('submitit')}",
        "ok video: PyAV 16.0 encodes and decodes a clip",
    ]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"Welcome\n", "Python prints no versions of kdbatch in it, but 'Welcome'. Try: env -u "),
        (b"[" * 100_000, "Python prints no versions of kdbatch in it, but '[[[[["),
        (b"", "Python does not start in it here, or lacks kdbatch. Try: env -u "),
    ],
)
def test_an_image_that_prints_no_versions_is_one_line(site, tmp_path, printed, shown):
    (_, line) = _image_findings(site("cgroup"), tmp_path, printed)
    assert line.startswith(f"bad image: {shown}")


@pytest.mark.parametrize(("limit", "largest"), [("0", 1), ("1", 1), ("501", 501), ("\u00b2", None)])
def test_arrays_that_are_switched_off_mean_arrays_of_one(site, tmp_path, limit, largest):
    cluster = site("cgroup")
    settings = (cluster / "scontrol").read_text().replace("501", limit)
    (cluster / "scontrol").write_text(settings)
    write_config(tmp_path / "kdbatch.toml", detect_site())
    raw = tomllib.loads((tmp_path / "kdbatch.toml").read_text())
    assert raw["site"]["max_array_size"] == (largest or 1000)
    told = bad(config_in(tmp_path, site=Site(max_array_size=1000)))
    hint = f"arrays: SLURM's MaxArraySize is {limit}: write max_array_size = {largest} under [site]"
    assert told == ([hint] if largest else [])
    assert not bad(config_in(tmp_path, site=Site(max_array_size=largest or 1000)))


@pytest.mark.parametrize("gpu_type", ["2080ti", "1g.10gb", "a100-sxm4-80gb"])
def test_a_type_of_gpu_may_begin_with_a_digit_or_have_dots_and_dashes(site, tmp_path, gpu_type):
    cluster = site("cgroup")
    sinfo = f"Welcome!\ngpu*|2-00:00:00|gpu:{gpu_type}:4(S:0-1),shard:8\n"
    (cluster / "sinfo").write_text(f"#!/bin/bash\ncat <<'END'\n{sinfo}END\n")
    write_config(tmp_path / "kdbatch.toml", detect_site())
    config = parse(
        Config, tomllib.loads((tmp_path / "kdbatch.toml").read_text()), where="kdbatch.toml"
    )
    assert (config.site.partition, config.site.gpu_type) == ("gpu", gpu_type)
    assert bad(config_in(tmp_path, site=config.site)) == []


@pytest.mark.parametrize(
    ("name", "printed", "shown"),
    [
        ("squeue", "garbage", "queue: squeue: its answer has no list of jobs: 'garbage'"),
        ("scontrol", "hello = world", "scheduler: scontrol does not show SLURM's configuration"),
    ],
)
def test_answers_that_are_not_slurms_are_named(site, tmp_path, name, printed, shown):
    cluster = site("cgroup")
    (cluster / name).write_text(f"#!/bin/bash\necho '{printed}'\n")
    (line,) = bad(config_in(tmp_path, site=Site(max_array_size=1)))
    assert line.startswith(shown)


def test_an_sinfo_that_names_no_partition_is_not_a_wrong_partition(site, tmp_path):
    (site("cgroup") / "sinfo").write_text("#!/bin/bash\necho garbage\n")
    config = config_in(tmp_path, site=Site(partition="gpu", max_array_size=1))
    assert bad(config) == []
    assert (
        "sinfo names no partition"
        in {f.subject: f.message for f in run_checks(config)}["partition"]
    )


def _decoders(config: Config) -> list[tuple[str, str]]:
    found = [finding for finding in run_checks(config) if finding.subject == "decoders"]
    return [(finding.severity, finding.message) for finding in found]


def test_the_decoders_of_this_machine_are_named(tmp_path: Path) -> None:
    ((severity, message),) = _decoders(config_in(tmp_path))
    assert severity == "ok" and message.startswith("pyav")
    assert ("decord" in message) == (find_spec("decord") is not None)
    assert message.endswith("shards are read by pyav")


def test_a_decoder_that_is_not_installed_is_named_with_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("decord", "torchcodec"):
        monkeypatch.setitem(sys.modules, package, None)
    config = replace(config_in(tmp_path), decoder="decord")
    message = (
        'pyav, but not decord. Write decoder = "pyav" in kdbatch.toml: all give the same frames'
    )
    assert _decoders(config) == [("bad", message)]
    monkeypatch.setitem(sys.modules, "av", None)
    ((severity, message),) = _decoders(config)
    assert severity == "note" and "pip install 'kdbatch[worker]', or an image" in message


def test_decoders_of_an_image_are_not_those_of_this_machine(tmp_path: Path) -> None:
    config = replace(config_in(tmp_path), container=Container(image="kd.sif"))
    assert _decoders(config) == []


def video_finding(config: Config) -> str:
    found = [f for f in run_checks(config) if f.subject == "video"]
    assert len(found) == 1
    return f"{found[0].severity}: {found[0].message}"


def test_a_clip_is_encoded_and_decoded_with_the_packages_of_the_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    told = video_finding(config_in(tmp_path))
    assert told == f"ok: PyAV {version('av')} encodes and decodes a clip"


@pytest.mark.parametrize(
    ("module", "code", "reason"),
    [
        ("av.py", 'raise ImportError("libavcodec.so.62: not found")', "ImportError: libavcodec"),
        (
            "sitecustomize.py",
            "import av\ndef open(*_, **__): raise TypeError('no such argument')\nav.open = open",
            "TypeError: no such argument",
        ),
    ],
)
def test_a_pyav_that_does_not_work_is_named_with_the_versions_that_do(
    tmp_path, monkeypatch, module, code, reason
):
    (tmp_path / module).write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    told = video_finding(config_in(tmp_path))
    assert told.startswith(f"bad: a clip cannot be encoded and decoded ({reason}"), told
    assert re.search(r"Install it: pip install 'av[<>=\d,]+'$", told), told


def test_a_pyav_that_does_not_work_in_an_image_means_another_image(site, tmp_path):
    cluster = site("cgroup")
    versions = f'["{__version__}", "{version("submitit")}"]'
    (cluster / "apptainer").write_text(
        f"#!/bin/bash\ncase $* in *codec_check) echo 'KeyError: x264' >&2; exit 1;;\n"
        f"--version) echo apptainer 9;; *) echo '{versions}';; esac\n"
    )
    (tmp_path / "kd.sif").touch()
    config = replace(
        config_in(tmp_path, site=Site(max_array_size=1)),
        container=Container(image=str(tmp_path / "kd.sif")),
    )
    assert bad(config) == [
        "video: a clip cannot be encoded and decoded (KeyError: x264). "
        "Build the image again: make image"
    ]


@pytest.mark.slow  # a worker's packages are imported
def test_the_probe_reports_and_counts_the_signals_that_it_gets(tmp_path):
    answer = tmp_path / "answer.json"
    probe = subprocess.Popen(
        [sys.executable, "-m", "kdbatch.run.node_probe", str(answer), str(tmp_path)]
    )
    wait_until(answer.exists, timeout=60)
    assert parse(NodeReport, load_json(answer), where="answer").listening
    probe.send_signal(signal.SIGUSR2)
    assert probe.wait(timeout=60) == 0
    told = parse(NodeReport, load_json(answer), where="answer")
    assert (told.listening, told.signals, told.decodes, told.missing) == (False, 1, True, ())
    assert told.decoders[0] == "pyav"
    config = replace(config_in(tmp_path), resources={"pretrain": Resources(gpus=0)})
    assert {finding.severity for finding in _findings(told, config)} == {"ok"}


@pytest.mark.rare  # a kernel is compiled
@pytest.mark.parametrize(
    ("variables", "problem"),
    [({}, ""), ({"CXX": "/no/compiler"}, r"InductorError: InvalidCxxCompiler: .*'/no/compiler'\)")],
)
def test_the_probe_compiles_something_small(variables, problem, tmp_path):
    code = "from kdbatch.run.node_probe import compile_problem; print(compile_problem('cpu'))"
    env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **variables}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert re.fullmatch(f"{problem}\n", done.stdout), done.stdout + done.stderr


def test_a_node_that_cannot_compile_is_a_note_with_what_would_do(tmp_path):
    report = NodeReport(
        host="n1",
        python="3.11.7",
        missing=(),
        user_site=False,
        shards=(),
        cores=4,
        listening=False,
        decodes=True,
        decoders=("pyav",),
        compile_problem="RuntimeError: Failed to find C compiler.",
    )
    (finding,) = [f for f in _findings(report, config_in(tmp_path)) if f.subject == "compiler"]
    assert finding.severity == "note"
    assert "Failed to find C compiler" in finding.message and "headers" in finding.message


def test_the_probes_job_has_our_name_and_reduced_resources(slurm, tmp_path):
    config = replace(
        config_in(tmp_path), resources={"pretrain": Resources(gpus=2, cpus=64, memory_gb=256)}
    )
    assert submit_node_check(config).job_id == "41"
    text = (slurm / "41.sbatch").read_text()
    assert "--gres=gpu:2" in text and "--time=2\n" in text and "--mem=4GB" in text
    assert queued_jobs()[0].name.startswith("kdbatch-probe-")


def test_gpus_of_amd_need_rocm_in_the_image(site, tmp_path):
    folder = site("cgroup")
    (folder / "sinfo").write_text("#!/bin/bash\necho 'g*|1-00:00:00|gpu:mi250x:8'\n")
    image = tmp_path / "kd.sif"
    image.touch()
    config = config_in(tmp_path, site=Site(max_array_size=500))
    wanted = 'container.gpu: GPUs of g are AMD\'s (mi250x): write gpu = "rocm"'
    assert wanted in bad(replace(config, container=Container(image=str(image), gpu="nv")))
    assert wanted not in bad(replace(config, container=Container(image=str(image), gpu="rocm")))
    assert 'gpu = "rocm"' in config_text(detect_site())
