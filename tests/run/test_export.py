import dataclasses
import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from support import videos
from support.exports import TEST, finished_student

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.result.schema import ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.run.checkpoint import save_weights
from kdbatch.run.export import export_run, load_exported, read_clip
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.config import Config
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import View


@pytest.fixture
def config(sharded, tmp_path: Path) -> Config:
    config = sharded(ucf101=13_320)
    paths = dataclasses.replace(config.paths, runs=str(tmp_path / "runs"))
    return dataclasses.replace(config, paths=paths)


def write_video(path: Path) -> None:
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(12):
            pixels = np.full((48, 64, 3), 20 * i, np.uint8)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        video.mux(stream.encode())


def call_example(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call `out/load.py` in a folder."""
    command = [sys.executable, "out/load.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def finished_backbone(config: Config) -> RunFolder:
    """The folder of a pretrained network that was never trained but is marked as done."""
    data = find_subset(load_index(config.shards_dir, "ucf101"), "train01", "all", where="")
    recipe = Pretrain(
        task=TASKS["rotnet"].at_complexity(1),
        backbone=Backbone(kind="shufflenet_2x", width=0.0625),
        data=data,
        view=View(num_frames=8, size_pixels=32),
        schedule=Schedule(epochs=1, batch_clips=2, lr=0.1),
    )
    folder = finished_student(config, recipe=recipe)
    torch.manual_seed(2)
    sha256 = save_weights(folder.model, build_backbone(recipe.backbone))
    write_json(folder.done, {"model_sha256": sha256, "kind": "pretrain"})
    return folder


def test_an_export_is_self_contained_and_predicts_a_video(config: Config, tmp_path: Path) -> None:
    folder = finished_student(config)
    written = export_run(folder, to=tmp_path / "out")
    assert {path.name for path in written} == {
        "model.safetensors",
        "config.json",
        "load.py",
        "model.ts",
    }
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == folder.model.read_bytes()
    classes = json.loads((tmp_path / "out" / "config.json").read_text())["classes"]
    assert tuple(classes) == load_index(config.shards_dir, "ucf101").classes
    write_video(tmp_path / "video.mp4")
    completed = call_example(tmp_path, "video.mp4")
    assert completed.returncode == 0, completed.stderr
    lines = completed.stdout.splitlines()
    assert len(classes) == 101 and len(lines) == 5  # the five most likely
    assert all(line.split(" ", 1)[1] in classes for line in lines)


def test_the_exported_network_and_its_torchscript_compute_the_logits_of_the_run(
    config: Config, tmp_path: Path
) -> None:
    export_run(finished_student(config), to=tmp_path / "out")
    model, exported = load_exported(tmp_path / "out")
    clip_BCTHW = 255 * torch.rand(2, 3, exported["clip"]["num_frames"], 32, 32)
    torch.manual_seed(1)
    backbone = build_backbone(Backbone(kind="shufflenet_2x", width=0.0625))
    classifier = Classifier(backbone, num_classes=101).eval()
    mean, std = (torch.tensor(exported["input"][name]).view(3, 1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        logit_BK = model(clip_BCTHW)
        expected_BK = classifier((clip_BCTHW / 255 - mean) / std)
        torch.testing.assert_close(logit_BK, expected_BK, rtol=1e-4, atol=1e-4)
        with warnings.catch_warnings():
            # torch warns that TorchScript is deprecated, with a text that depends on its version.
            warnings.simplefilter("ignore")
            traced = torch.jit.load(tmp_path / "out" / "model.ts")
        torch.testing.assert_close(traced(clip_BCTHW), logit_BK, rtol=1e-4, atol=1e-4)


def test_the_config_holds_the_accuracy_on_the_test_split_where_that_is_known(
    config: Config, tmp_path: Path
) -> None:
    folder = finished_student(config)
    export_run(folder, to=tmp_path / "unknown")
    measured = [
        Measure(name=n, value=v, unit="percent", subset="ucf101/test01")
        for n, v in (("top5", 90.0), ("top1", 62.5))
    ]
    write_measures(folder.rows, folder.id, measured, schema=ROWS)
    export_run(folder, to=tmp_path / "known")
    unknown, known = (load_json(tmp_path / name / "config.json") for name in ("unknown", "known"))
    assert known.pop("accuracy") == {"top1_percent": 62.5, "subset": "ucf101/test01"}
    for exported in (unknown, known):  # PyTorch numbers the names in it, anew in each process
        del exported["torchscript_sha256"]
    assert known == unknown


def test_the_error_for_what_cannot_be_exported_has_the_reason_and_the_command(
    config: Config, tmp_path: Path
) -> None:
    folder = finished_student(config)
    export_run(folder, to=tmp_path / "out")
    other = finished_student(config, width=0.125)
    with pytest.raises(UserError, match=f"holds the export of {folder.id}"):
        export_run(other, to=tmp_path / "out")
    compared = finished_student(config, recipe=Compare(data=TEST, view=View()))
    with pytest.raises(UserError, match="a compare run trains no network to export"):
        export_run(compared, to=tmp_path / "new")
    other.done.unlink()
    with pytest.raises(UserError, match=r"is not done yet.*kdbatch status"):
        export_run(other, to=tmp_path / "new")
    (tmp_path / "out" / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_exported(tmp_path / "out")


def test_a_pretrained_backbone_is_exported_and_computes_features(
    config: Config, tmp_path: Path
) -> None:
    folder = finished_backbone(config)
    written = export_run(folder, to=tmp_path / "out")
    assert {path.name for path in written} >= {"model.safetensors", "config.json", "load.py"}
    model, exported = load_exported(tmp_path / "out")
    assert "classes" not in exported and exported["pretext_task"]["name"] == "rotnet"
    clip_BCTHW = 255 * torch.rand(2, 3, 8, 32, 32)
    torch.manual_seed(2)
    backbone = build_backbone(Backbone(kind="shufflenet_2x", width=0.0625)).eval()
    mean, std = (torch.tensor(exported["input"][name]).view(3, 1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected_BD = backbone((clip_BCTHW / 255 - mean) / std)
        torch.testing.assert_close(model(clip_BCTHW), expected_BD, rtol=1e-4, atol=1e-4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            traced = torch.jit.load(tmp_path / "out" / "model.ts")
        torch.testing.assert_close(traced(clip_BCTHW), expected_BD, rtol=1e-4, atol=1e-4)
    write_video(tmp_path / "video.mp4")
    completed = call_example(tmp_path, "video.mp4")
    assert completed.returncode == 0, completed.stderr
    assert len(completed.stdout.split()) == backbone.feature_dim


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "load.py: name one video: python load.py VIDEO"),
        (("text.mp4",), "load.py: text.mp4: cannot be read as a video ("),
    ],
)
def test_the_example_answers_a_wrong_call_in_one_line(
    config: Config, tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    export_run(finished_student(config), to=tmp_path / "out")
    (tmp_path / "text.mp4").write_text("no video")
    completed = call_example(tmp_path, *arguments)
    assert (completed.returncode, completed.stdout) == (2, "")
    (found,) = completed.stderr.splitlines()
    assert found.startswith(line)


def test_a_video_that_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "absent.mp4", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UserError, match=rf"cannot be read as a video \({reason}\)"):
            read_clip(path, num_frames=8, size_pixels=32)


@pytest.mark.parametrize("abcd", videos.DISPLAY_MATRICES)
def test_the_clip_of_a_video_is_as_it_is_shown(tmp_path: Path, abcd: tuple[int, ...]) -> None:
    """Turned and mirrored by its display matrix, as shards have it stored."""
    coded = videos.write_video(tmp_path / "a.mp4", width=160, height=128, num_frames=5)
    turned = videos.set_display_matrix(coded, tmp_path / "turned.mp4", abcd)
    with av.open(str(coded)) as shot:
        first = next(shot.decode(video=0)).to_ndarray(format="rgb24")
    shown = torch.from_numpy(videos.mapped_by(first, abcd).copy()).permute(2, 0, 1)[None].float()
    wanted = torch.nn.functional.interpolate(shown, size=(64, 64), mode="bilinear")
    clip_BCTHW = read_clip(turned, num_frames=5, size_pixels=64)
    assert torch.equal(clip_BCTHW[:, :, 0], wanted)


def test_the_clip_of_a_video_is_not_of_its_cover(tmp_path: Path) -> None:
    with_cover = videos.write_video_with_cover(tmp_path / "a.mp4")
    clip_BCTHW = read_clip(with_cover, num_frames=35, size_pixels=160)
    frames = [frame.numpy() for frame in clip_BCTHW[0].permute(1, 2, 3, 0)]
    assert videos.bar_positions(frames) == list(range(35))


def test_the_example_names_a_damaged_file_of_its_folder(config: Config, tmp_path: Path) -> None:
    export_run(finished_student(config), to=tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").write_bytes(b"")
    write_video(tmp_path / "video.mp4")
    completed = call_example(tmp_path, "video.mp4")
    (line,) = completed.stderr.splitlines()
    assert completed.returncode == 2 and "model.safetensors: cannot be read as weights" in line


@pytest.mark.parametrize("text", ["[]", '{"model": "r21d"}', "3"])
def test_a_folder_with_a_config_of_something_else_is_not_changed(
    config: Config, tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    message = r"config\.json: is not the config of an export\. Choose another folder: --to"
    with pytest.raises(UserError, match=message):
        export_run(finished_student(config), to=tmp_path)
    with pytest.raises(UserError, match=r"config\.json: is not the config of an export"):
        load_exported(tmp_path)
    assert (tmp_path / "config.json").read_text() == text and not (tmp_path / "load.py").exists()


def test_a_config_that_is_no_json_of_ours_is_not_to_be_deleted(
    config: Config, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("[paths]")
    with pytest.raises(
        UserError, match=r"config.json: is not JSON .*\. Choose another folder: --to"
    ):
        export_run(finished_student(config), to=tmp_path)


def test_a_file_at_the_path_of_the_folder_is_a_one_line_error(
    config: Config, tmp_path: Path
) -> None:
    (tmp_path / "student").write_text("")
    for path in (tmp_path / "student", tmp_path / "student" / "below"):
        with pytest.raises(UserError, match=f"^{path}: cannot be made a folder .*--to FOLDER$"):
            export_run(finished_student(config), to=path)


def test_an_export_names_no_folder_user_or_host(config: Config, tmp_path: Path) -> None:
    folder = finished_student(config)
    done = json.loads(folder.done.read_text())
    reason = "unknown (git: dubious ownership in repository at '/home/alice/kdbatch')"
    write_json(folder.done, done | {"host": "login7.example", "git_sha": reason})
    paths = export_run(folder, to=tmp_path / "export")
    assert "model.ts" in {path.name for path in paths}
    contents = [path.read_bytes() for path in paths]
    with zipfile.ZipFile(tmp_path / "export" / "model.ts") as archive:
        contents += [archive.read(name) for name in archive.namelist()]
    here = (Path(torch.__file__).parent, Path(__file__).parents[2], Path.home(), tmp_path)
    for word in ("alice", "login7", "site-packages", "export.py", *map(str, here)):
        assert not any(word.encode() in content for content in contents), word
