"""What cannot be written is said, with its name."""

import pytest

from ssgan_tf import files


@pytest.mark.parametrize("take", [files.locked, files.claimed])
def test_no_lock_below_a_file(take, tmp_path):
    (tmp_path / "file").touch()
    words = (
        f"must be writable. Received: path={tmp_path}/file/.*lock, which fails with: "
    )
    with pytest.raises(OSError, match=words):
        with take(tmp_path / "file" / "lock"):
            pytest.fail("locked")


def test_no_claim_on_a_full_disk():
    with pytest.raises(OSError, match="must be writable. Received: path=/dev/full, "):
        with files.claimed("/dev/full"):
            pytest.fail("claimed")


@pytest.mark.parametrize("take", [files.locked, files.claimed])
def test_what_fails_under_a_lock_is_shown_as_it_is(take, tmp_path):
    with pytest.raises(OSError, match="^mine$"):
        with take(tmp_path / "lock"):
            raise OSError("mine")
