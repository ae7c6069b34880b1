"""Lines of packed files, whole, cut and spoilt."""

import bz2
import gzip
import lzma

import pytest
import zstandard

from glasslit.data.formats.opened import lines

TEXT = "".join(f"line {k} of many\n" for k in range(20000))
PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: zstandard.ZstdCompressor().compress(raw),
}


@pytest.mark.parametrize("suffix", PACK)
def test_whole_files(tmp_path, suffix):
    path = tmp_path / f"some.txt{suffix}"
    path.write_bytes(PACK[suffix](TEXT.replace("\n", "\r\n").encode()))
    assert "".join(lines(path)) == TEXT


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_cut_file_gives_lines_up_to_its_end(tmp_path, suffix):
    path = tmp_path / f"some.txt{suffix}"
    text = "".join(f"{k * 7919 % 10007} {k * 104729 % 10007}\n" for k in range(200000))  # several blocks of bzip2
    whole = PACK[suffix](text.encode())
    path.write_bytes(whole[: len(whole) * 3 // 4])
    found = []
    with pytest.raises(ValueError, match="the file ends early"):
        found.extend(lines(path))
    found = "".join(found)
    assert len(found) > 10000
    assert text.startswith(found)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_text_under_the_name_of_a_packed_file(tmp_path, suffix):
    path = tmp_path / f"some.txt{suffix}"
    path.write_text(TEXT)
    with pytest.raises(ValueError, match=rf"cannot be unpacked \(.*\); expected \{suffix}: copy it again, or rename"):
        list(lines(path))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_spoilt_file(tmp_path, suffix):
    path = tmp_path / f"some.txt{suffix}"
    whole = bytearray(PACK[suffix](TEXT.encode()))
    for k in range(len(whole) // 3, len(whole) // 3 + 8):
        whole[k] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"cannot be unpacked|ends early"):
        list(lines(path))


def test_errors_of_the_disk_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(lines(tmp_path / "missing.txt"))
