"""Handles of modules: archives, addresses and folders."""

import io
import os
import pathlib
import tarfile
import urllib.request

import pytest

from ssgan_tf.modules import hub

FILES = {
    "saved_model.pb": b"a graph",
    "variables/variables.index": b"names",
    "variables/variables.data-00000-of-00001": bytes(range(256)) * 100,
}
FOLDERS = ["assets", "variables"]
ADDRESS = "https://tfhub.dev/google/compare_gan/ssgan_128x128/1"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "tfhub"))
    return tmp_path / "cache"


def member(name, content=b"", **attributes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def archive(path, *further, prefix="./", files=FILES) -> pathlib.Path:
    with tarfile.open(path, "w:gz") as file:
        folder = member(prefix + "variables", type=tarfile.DIRTYPE, mode=0o755)
        members = [member(prefix + name, content) for name, content in files.items()]
        for info, content in [folder, *members, *further]:
            file.addfile(info, io.BytesIO(content))
    return path


def content_of(folder) -> dict[str, bytes]:
    folder = pathlib.Path(folder)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_its_own_path(tmp_path):
    (tmp_path / "odd.tar.gz").mkdir()
    for handle in (tmp_path / "missing", "module", tmp_path / "odd.tar.gz", "gs://b/m"):
        assert hub.resolve(handle) == str(handle)


class TestArchive:
    @pytest.mark.parametrize("prefix", ["", "./"])
    def test_is_unpacked_once(self, tmp_path, cache, prefix, monkeypatch):
        path = archive(tmp_path / "m.tar.gz", prefix=prefix)
        first = hub.resolve(path)
        assert content_of(first) == FILES
        assert pathlib.Path(first).is_relative_to(cache / "ssgan_tf" / "modules")
        # Another content is another folder.
        changed = FILES | {"saved_model.pb": b"another graph"}
        second = hub.resolve(archive(path, files=changed))
        assert content_of(first) == FILES and content_of(second) == changed
        monkeypatch.setattr(tarfile.TarFile, "extractall", pytest.fail)
        copy = path.rename(tmp_path / "other name.tgz")
        assert hub.resolve(copy) == second

    def test_missing(self, tmp_path):
        path = tmp_path / "m.tar.gz"
        with pytest.raises(FileNotFoundError) as caught:
            hub.resolve(path)
        assert f"path={str(path)!r}" in str(caught.value)

    @pytest.mark.parametrize(
        "further",
        [
            *map(member, ["../evil", "variables/../../evil", "variables/../evil"]),
            *map(member, ["/evil/x", "saved_model.pb/evil", "variables"]),
            member("evil", type=tarfile.SYMTYPE, linkname=".."),
            member("evil", type=tarfile.SYMTYPE, linkname="saved_model.pb"),
            member("evil", type=tarfile.LNKTYPE, linkname="../x"),
            member("evil", type=tarfile.FIFOTYPE),
            member("evil", type=tarfile.CHRTYPE),
        ],
    )
    def test_that_reaches_out(self, tmp_path, cache, further):
        path = archive(tmp_path / "m.tar.gz", further)
        assert further[0].name in self.check_refused(path, cache)
        assert sorted(os.listdir(tmp_path)) == ["cache", "m.tar.gz"]

    def check_refused(self, path, cache) -> str:
        with pytest.raises(ValueError) as caught:
            hub.resolve(path)
        assert f"path={str(path)!r}" in str(caught.value)
        assert set(content_of(cache)) == {"ssgan_tf/modules/.lock"}
        assert os.listdir(cache / "ssgan_tf" / "modules") == [".lock"]
        return str(caught.value)

    def test_damaged(self, tmp_path, cache):
        path = archive(tmp_path / "m.tar.gz")
        content = path.read_bytes()
        damaged = [content[:size] for size in (0, 5, len(content) // 2, -1)]
        damaged += [b"what is this", b"\0" * 2000]
        # The date and name of the file come first.
        start = content.index(b"\0", 10) + 1
        for place in range(start, len(content), len(content) // 40):
            changed = bytearray(content)
            changed[place] ^= 16
            damaged.append(bytes(changed))
        for damage in damaged:
            path.write_bytes(damage)
            self.check_refused(path, cache)
        path.write_bytes(content)
        assert content_of(hub.resolve(path)) == FILES

    @pytest.mark.parametrize("prefix", ["module/", "./module/"])
    def test_of_something_else(self, tmp_path, cache, prefix):
        path = archive(tmp_path / "m.tar.gz", prefix=prefix)
        assert "saved_model.pb" in self.check_refused(path, cache)

    def test_cache_that_cannot_be_written(self, tmp_path, cache):
        cache.write_text("mine")
        with pytest.raises(OSError, match="Cannot write"):
            hub.resolve(archive(tmp_path / "m.tar.gz"))


class TestPack:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "module"
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "assets").mkdir()
        return folder

    def test_comes_back(self, tmp_path, folder, monkeypatch):
        path = tmp_path / "new" / "m.tar.gz"
        hub.pack(folder, path)
        unpacked = pathlib.Path(hub.resolve(path))
        assert content_of(unpacked) == FILES and (unpacked / "assets").is_dir()
        # TF-Hub needs folders to precede their files.
        content = path.read_bytes()
        monkeypatch.setattr(
            urllib.request, "urlopen", lambda *_, **__: io.BytesIO(content)
        )
        assert content_of(hub.resolve(ADDRESS)) == FILES

    def test_equal_files_make_equal_archives(self, tmp_path, folder, monkeypatch):
        hub.pack(folder, tmp_path / "one.tar.gz")
        copy = tmp_path / "other name"
        (copy / "assets").mkdir(parents=True)
        for name in reversed(FILES):
            (copy / name).parent.mkdir(exist_ok=True)
            (copy / name).write_bytes(FILES[name])
            (copy / name).chmod(0o600)
            os.utime(copy / name, (1, 1))
        monkeypatch.setattr("time.time", lambda: 1e9)
        hub.pack(copy, tmp_path / "two.tgz")
        one, two = (
            (tmp_path / name).read_bytes() for name in ("one.tar.gz", "two.tgz")
        )
        assert one == two
        with tarfile.open(tmp_path / "one.tar.gz") as file:
            members = file.getmembers()
        assert [member.name for member in members] == sorted([*FILES, *FOLDERS])
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.isdir(), m.mode) for m in members}
        nobody = (0, 0, 0, "")
        assert facts == {(*nobody, True, 0o755), (*nobody, False, 0o644)}

    def test_whole_or_not_at_all(self, tmp_path, folder, monkeypatch):
        path = tmp_path / "m.tar.gz"
        path.write_text("former")

        def fail(*args):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(tarfile.TarFile, "addfile", fail)
            with pytest.raises(OSError, match="m.tar.gz: No space"):
                hub.pack(folder, path)
        assert path.read_text() == "former"
        assert sorted(os.listdir(tmp_path)) == ["m.tar.gz", "module"]
        # Also into the folder that it packs.
        hub.pack(folder, folder / "m.tar.gz")
        assert content_of(hub.resolve(folder / "m.tar.gz")) == FILES


class TestAddress:
    """TF-Hub itself, with a fake network."""

    def test_is_downloaded_once(self, tmp_path, monkeypatch):
        content = archive(tmp_path / "m.tar.gz").read_bytes()
        asked = []

        def urlopen(request, **options):
            asked.append(request.full_url)
            return io.BytesIO(content)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        folder = hub.resolve(ADDRESS)
        assert content_of(folder) == FILES
        assert pathlib.Path(folder).parent == tmp_path / "tfhub"
        assert hub.resolve(ADDRESS) == folder
        assert [url.startswith(ADDRESS) for url in asked] == [True]

    @pytest.mark.parametrize("error", [TimeoutError("slow"), OSError(-3, "no name")])
    def test_offline(self, tmp_path, monkeypatch, error):
        def urlopen(*args, **options):
            raise error

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        with pytest.raises(ConnectionError) as caught:
            hub.resolve(ADDRESS)
        assert f"path={ADDRESS!r}" in str(caught.value)
        assert f"{type(error).__name__}: {error}" in str(caught.value)
        assert content_of(tmp_path) == {}
