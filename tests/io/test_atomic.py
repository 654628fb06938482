import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from medseg.errors import ConfigurationError, InputError
from medseg.io import atomic
from medseg.io.atomic import commit_folder, sweep_abandoned, write_atomically


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A file system of 64 KiB, where one can be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.b.nii.gz", ".nii.gz"), ("a.b.csv", ".csv"), ("plain", ""), ("1.2.840.5", ".5")]
)
def test_part_keeps_the_extension_and_takes_the_name(tmp_path, name, suffix):
    seen = []

    def write(part):
        seen.append(part)
        part.write_bytes(b"whole")
        assert not (tmp_path / name).exists()

    write_atomically(tmp_path / name, write)
    assert seen[0].name.startswith(".")
    assert seen[0].name.endswith(".part" + suffix)
    assert (tmp_path / name).read_bytes() == b"whole"
    assert names(tmp_path) == [name]


def test_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.json").write_text("old")

    def write(part):
        part.write_text("half")
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        write_atomically(tmp_path / "a.json", write)
    assert names(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_missing_folder_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigurationError, match=r"a\.json cannot be written: No such file"):
        write_atomically(tmp_path / "none" / "a.json", lambda part: part.write_text("x") and None)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(ConfigurationError, match="cannot be written"),
        commit_folder(tmp_path / "file" / "case"),
    ):
        pass


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_refused_by_the_system(tmp_path, monkeypatch, code):
    def mkdir(self, *args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(ConfigurationError, match=os.strerror(code)), commit_folder(tmp_path / "case"):
        pass
    assert names(tmp_path) == []


def test_full_disk_leaves_nothing(small_disk):
    def write(part):
        part.write_bytes(bytes(1 << 20))

    with pytest.raises(ConfigurationError, match=r"No space left on device \(\d+ bytes free\)"):
        write_atomically(small_disk / "a.nii", write)
    with pytest.raises(ConfigurationError, match="make room"), commit_folder(small_disk / "case") as folder:
        write(folder / "a.nii")
    assert names(small_disk) == []


def test_file_size_limit_leaves_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ConfigurationError, match="File too large"):
            write_atomically(tmp_path / "a.nii", lambda part: part.write_bytes(bytes(5000)) and None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == []


def test_free_bytes_of_a_folder_that_does_not_exist(tmp_path):
    assert atomic._free_bytes(tmp_path / "a" / "b") > 0


def test_folder_appears_whole(tmp_path):
    final = tmp_path / "out" / "case"
    with commit_folder(final) as folder:
        assert folder.parent == final.parent
        assert folder.name.startswith(".case.")
        assert folder.name.endswith(".tmp")
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("a")
        (folder / "link").symlink_to("inner")
        assert not final.exists()
    assert (final / "inner" / "a").read_text() == "a"
    assert names(final.parent) == ["case"]


def test_existing_folder_is_replaced_never_mixed(tmp_path):
    final = tmp_path / "case"
    final.mkdir()
    (final / "old").write_text("old")
    with commit_folder(final) as folder:
        (folder / "new").write_text("new")
        assert names(final) == ["old"]
    assert names(final) == ["new"]
    assert names(tmp_path) == ["case"]


def test_error_inside_keeps_the_old_folder(tmp_path):
    final = tmp_path / "case"
    final.mkdir()
    (final / "old").write_text("old")
    with pytest.raises(InputError), commit_folder(final) as folder:
        (folder / "new").write_text("new")
        raise InputError("no")
    assert names(final) == ["old"]
    assert names(tmp_path) == ["case"]


def test_an_existing_file_is_replaced_by_the_folder(tmp_path):
    (tmp_path / "case").write_text("a file")
    with commit_folder(tmp_path / "case"):
        pass
    assert (tmp_path / "case").is_dir()
    assert names(tmp_path) == ["case"]


def test_failed_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    final = tmp_path / "case"
    final.mkdir()
    (final / "old").write_text("old")
    rename = Path.rename

    def failing(self, target):
        if self.name.endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ConfigurationError, match="Input/output error"), commit_folder(final):
        pass
    assert names(final) == ["old"]
    assert names(tmp_path) == ["case"]


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_sweep_removes_leftovers_of_dead_processes_of_this_host_only(tmp_path):
    host, dead, alive = atomic._host(), dead_pid(), os.getpid()
    for name in (
        f".a.{host}.{dead}.0123abcd.tmp",
        f".a.{host}.{alive}.0123abcd.tmp",
        f".a.deadbeef.{dead}.0123abcd.tmp",
        ".hidden",
        "a",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / f".b.{host}.{dead}.0123abcd.old").write_text("moved aside")
    (tmp_path / f".a.{host}.{dead}.0123abcd.old").mkdir()
    (tmp_path / f".{host}.{dead}.0123abcd.part.nii.gz").write_text("half")
    (tmp_path / f".{host}.{dead}.0123abcd.part").write_text("half")
    assert sweep_abandoned(tmp_path) == 5
    assert names(tmp_path) == [
        f".a.{host}.{alive}.0123abcd.tmp",
        f".a.deadbeef.{dead}.0123abcd.tmp",
        ".hidden",
        "a",
        "b",
    ]
    assert (tmp_path / "b").read_text() == "moved aside"


def test_sweep_of_no_folder(tmp_path):
    assert sweep_abandoned(tmp_path / "none") == 0


@pytest.mark.parametrize("existing", [False, True])
def test_a_killed_process_leaves_old_or_new_and_only_what_sweep_removes(tmp_path, existing):
    code = (
        "import sys, os, signal; from pathlib import Path; from medseg.io.atomic import commit_folder\n"
        "with commit_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'new').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    final = tmp_path / "case"
    if existing:
        final.mkdir()
        (final / "old").write_text("old")
    subprocess.run([sys.executable, "-c", code, str(final)], check=False)
    assert final.exists() == existing
    assert sweep_abandoned(tmp_path) == 1
    assert names(tmp_path) == (["case"] if existing else [])


def test_many_writers_of_one_file_never_mix(tmp_path):
    path = tmp_path / "a.txt"

    def work(letter):
        for _ in range(20):
            write_atomically(path, lambda part: part.write_text(letter * 10_000) and None)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = path.read_text()
    assert len(text) == 10_000
    assert len(set(text)) == 1
    assert names(tmp_path) == ["a.txt"]
