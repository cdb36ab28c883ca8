"""All or nothing in the output folder, with real full disks, real permissions and real signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.exchange.output_folder import staged_output

TESTING = Path(__file__).parent


def content(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def test_files_appear_together_at_the_end(tmp_path):
    folder = tmp_path / "a" / "b ü"
    with staged_output(folder) as stage:
        (stage / "one.txt").write_text("1")
        (stage / "dicom").mkdir()
        (stage / "dicom" / "two.txt").write_text("2")
        assert content(folder).keys() == {
            f"{stage.relative_to(folder)}/one.txt",
            f"{stage.relative_to(folder)}/dicom/two.txt",
        }
    assert content(folder) == {"one.txt": "1", "dicom/two.txt": "2"}
    assert sorted(os.listdir(folder)) == ["dicom", "one.txt"]


def test_old_results_are_replaced_and_other_files_kept(tmp_path):
    (tmp_path / "report.json").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    with staged_output(tmp_path) as stage:
        (stage / "report.json").write_text("new")
        assert (tmp_path / "report.json").read_text() == "old"
    assert content(tmp_path) == {"mine.txt": "mine", "report.json": "new"}
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("error", [InputError("bad input"), ValueError("a defect"), KeyboardInterrupt()])
@pytest.mark.parametrize("existed", [True, False])
def test_any_exception_leaves_everything_as_it_was(tmp_path, error, existed):
    folder = tmp_path / "x" / "out"
    if existed:
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("old")
    with pytest.raises(type(error)), staged_output(folder) as stage:  # noqa: PT012
        (stage / "a.txt").write_text("new")
        raise error
    assert content(tmp_path) == ({"x/out/a.txt": "old"} if existed else {})
    assert (tmp_path / "x").exists() == existed
    assert not existed or os.listdir(folder) == ["a.txt"]


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("I am a file")
    for folder in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(OutputError, match=r"out.*cannot be used"), staged_output(folder):
            pytest.fail("the work must not begin")
    assert content(tmp_path) == {"out": "I am a file"}


def test_what_was_moved_goes_back_when_a_move_fails(tmp_path):
    """A folder lies where the last file should go."""
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "z.txt").mkdir()
    with pytest.raises(OutputError, match="cannot be used"), staged_output(tmp_path) as stage:  # noqa: PT012
        for name in ("a.txt", "b.txt", "new/c.txt", "z.txt"):
            (stage / name).parent.mkdir(exist_ok=True)
            (stage / name).write_text("new")
    assert content(tmp_path) == {"a.txt": "old"}
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "z.txt"]


def test_an_error_of_the_input_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), staged_output(tmp_path / "out"):
        (tmp_path / "no input").read_text()
    assert not (tmp_path / "out").exists()


def script(code):
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(TESTING)!r})\n" + textwrap.dedent(code)]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_no_permission_is_said_before_the_work(tmp_path):
    # Root may write everywhere, so it becomes somebody else once everything is imported.
    code = """
        import os
        from HNTumorSegLib.errors import OutputError
        from HNTumorSegLib.exchange.output_folder import staged_output
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        for folder in (sys.argv[1], sys.argv[1] + "/deeper"):
            try:
                with staged_output(folder):
                    print("worked")
            except OutputError as error:
                print(error)
    """
    # Not below tmp_path, which another user cannot enter.
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)
        done = subprocess.run([*script(code), str(folder)], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 2
        assert all(line.startswith("No permission to write") and str(folder) in line for line in lines)
        assert os.listdir(folder) == []
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_too_large_a_file(tmp_path):
    """The system refuses to let a file grow: the same path as a full disk, on every POSIX system."""
    resource = pytest.importorskip("resource")
    code = """
        import resource
        import lesion_cases
        from HNTumorSegLib.errors import OutputError
        from HNTumorSegLib.exchange.output_folder import staged_output
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            with staged_output(sys.argv[1]) as stage:
                (stage / "small.txt").write_text("fits")
                (stage / "large.bin").write_bytes(bytes(200_000))
        except OutputError as error:
            print(error)
    """
    assert resource.RLIMIT_FSIZE is not None
    out = tmp_path / "out"
    done = subprocess.run([*script(code), str(out)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "does not allow a file that large" in done.stdout
    assert not out.exists()


FULL_DISK = """
    import os
    import numpy as np
    import lesion_cases
    from HNTumorSegLib.errors import OutputError
    from HNTumorSegLib.exchange.labels import write_labels
    from HNTumorSegLib.exchange.output_folder import staged_output
    from HNTumorSegLib.exchange.overview import write_overview
    from HNTumorSegLib.exchange.report import build_report
    from HNTumorSegLib.exchange.seg_nrrd import write_seg_nrrd
    from HNTumorSegLib.geometry import Geometry
    from HNTumorSegLib.lesions.lesion import Lesion
    from HNTumorSegLib.lesions.lesion_set import LesionSet

    disk = sys.argv[1]
    geometry = Geometry((128, 128, 64), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    # Noise cannot be compressed: about 2 MB however it is written.
    labels = np.random.default_rng(0).integers(0, 250, geometry.shape_zyx).astype(np.uint16)
    noise = LesionSet(geometry, labels, [Lesion(n, "node" if n % 2 else "primary", f"{n}") for n in range(1, 250)])
    small, study = lesion_cases.lesions(), lesion_cases.study()

    def scene(path):
        from HNTumorSegLib.mrml.save import save_scene
        large = lesion_cases.study(geometry)
        save_scene(large, noise, None, path)

    def fill(stage):
        with open(stage / "fill", "wb") as file:
            while True:
                file.write(bytes(4096))

    writers = {
        "labels.nii.gz": lambda path: write_labels(noise, path),
        "a.seg.nrrd": lambda path: write_seg_nrrd(noise, path),
        "plain.bin": lambda path: fill(path.parent),
    }
    if len(sys.argv) > 2:
        writers["scene.mrb"] = scene
    for name, write in writers.items():
        try:
            with staged_output(disk + "/out") as stage:
                write(stage / name)
            print("written", name)
        except OutputError as error:
            print("OutputError", str(error).replace("\\n", " "))
        print("left", os.listdir(disk))
    # Nothing fits at all: the folder can be made, no byte can be written into it.
    try:
        with open(disk + "/fill", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        pass
    try:
        with staged_output(disk + "/out") as stage:
            print("began")
    except OutputError as error:
        print("OutputError", error)
    print("left", os.listdir(disk))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare to mount a small disk with")
@pytest.mark.parametrize("with_scene", [False, True])
def test_full_disk_leaves_nothing(tmp_path, with_scene):
    if with_scene:
        pytest.importorskip("slicer", reason="the slicer extra is not installed")
    mount = 'mount -t tmpfs -o size=128k tmpfs "$0" && exec "$@"'
    as_root = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*as_root, mount, str(tmp_path), "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    command = [*script(FULL_DISK), str(tmp_path), *(["scene"] if with_scene else [])]
    done = subprocess.run(
        [*as_root, mount, str(tmp_path), *command], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    outcomes, left = lines[0::2], lines[1::2]
    assert left == ["left []"] * (len(left) - 1) + ["left ['fill']"]
    assert len(outcomes) == 5 if with_scene else 4
    for outcome in outcomes:
        assert outcome.startswith("OutputError"), lines
        assert str(tmp_path) in outcome
        assert "full" in outcome or "Make room" in outcome


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_leaves_nothing(tmp_path, with_ctrl_c):
    code = """
        import time
        from HNTumorSegLib.exchange.output_folder import staged_output
        with staged_output(sys.argv[1]) as stage:
            (stage / "half.txt").write_text("half")
            print("ready", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [*script(code), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=with_ctrl_c,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    deadline = time.monotonic() + 5
    while (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert os.listdir(tmp_path) == []
