"""Archives of arrays: equal contents are equal bytes, and nothing is unpacked that lies or would never end."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trading.bundles.archives import read_archive, read_array, write_archive, write_array
from trading.errors import PolicyNotFit


class _Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_what_was_written_is_read() -> None:
    members = {"b.npy": write_array(np.arange(3.0)), "a": b"word"}
    read = read_archive(write_archive(members))
    assert read == members
    assert read_array("b.npy", read["b.npy"]).tolist() == [0.0, 1.0, 2.0]


def test_the_order_of_writing_does_not_show() -> None:
    assert write_archive({"a": b"1", "b": b"2"}) == write_archive({"b": b"2", "a": b"1"})


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    # 50 MB of zeros are some 50 kB on disk.
    bomb = write_archive({"zeros": bytes(50_000_000)})
    assert len(bomb) < 100_000
    with pytest.raises(PolicyNotFit, match=r"would unpack to 50,000,000 bytes; at most 1,000,000"):
        read_archive(bomb, max_bytes=1_000_000)


def test_an_archive_that_lies_about_a_size_is_refused() -> None:
    honest = write_archive({"zeros": bytes(1_000_000)})
    # The size (1,000,000 = 0x000F4240) stands in the member's header and in the directory, little-endian.
    lying = honest.replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != honest
    with pytest.raises(PolicyNotFit):
        read_archive(lying)


@pytest.mark.parametrize("kept", [0, 1, 40, 100, -1], ids=lambda kept: f"first {kept} bytes")
def test_a_truncated_archive_is_refused(kept: int) -> None:
    whole = write_archive({"a.npy": write_array(np.arange(100.0))})
    with pytest.raises(PolicyNotFit, match="not an archive"):
        read_archive(whole[:kept])


def test_every_flipped_byte_of_the_contents_is_noticed() -> None:
    contents = np.random.default_rng(1).bytes(64)
    whole = bytearray(write_archive({"a": contents}))
    at = 30 + len("a") + 20
    whole[at] ^= 0xFF
    with pytest.raises(PolicyNotFit, match="not an archive as it was written"):
        read_archive(bytes(whole))


def test_compressions_that_unpack_without_a_bound_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"1" * 1000)
    with pytest.raises(PolicyNotFit, match="a of the model's file is compressed in a way that is not read"):
        read_archive(buffer.getvalue())


def test_two_members_of_one_name_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(PolicyNotFit, match="of the same name"):
        read_archive(buffer.getvalue())


def test_a_pickle_is_no_archive_and_is_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    content = pickle.dumps(_Evil(made))
    pickle.loads(content)
    assert made.exists(), "the pickle does what it is said to do"
    made.rmdir()
    with pytest.raises(PolicyNotFit, match="not an archive"):
        read_archive(content)
    assert not made.exists()


def test_an_array_of_objects_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    made = tmp_path / "made"
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([_Evil(made)], dtype=object), allow_pickle=True)
    with pytest.raises(PolicyNotFit, match="holds Python objects, which are never loaded"):
        read_array("a.npy", buffer.getvalue())
    assert not made.exists()


def test_a_header_that_promises_more_than_there_is_allocates_nothing() -> None:
    # 8 bytes of numbers that claim to be 8 x 10^15 of them.
    content = write_array(np.array([1.0])).replace(b"(1,), }" + b" " * 17, b"(1000000000000000,), }  ")
    assert b"1000000000000000" in content
    with pytest.raises(PolicyNotFit, match="which its size does not bear out"):
        read_array("a.npy", content)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"word"])
def test_what_is_no_array_is_refused(content: bytes) -> None:
    with pytest.raises(PolicyNotFit, match=r"a\.npy of the model's file is not an array"):
        read_array("a.npy", content)


def test_a_header_that_never_ends_is_refused() -> None:
    # The bracket of the shape is opened and not closed.
    with pytest.raises(PolicyNotFit, match=r"a\.npy of the model's file is not an array"):
        read_array("a.npy", write_array(np.array([1.0])).replace(b"(1,)", b"(1, "))


@pytest.mark.parametrize("order", ["<", ">"])
def test_words_of_what_are_no_letters_are_refused(order: str) -> None:
    # The last letter is U+10FFFF; 0x110000 is none.
    word = np.array(["A"], dtype=f"{order}U1")
    assert read_array("a.npy", write_array(word)).tolist() == ["A"]
    with pytest.raises(PolicyNotFit, match="no letters"):
        read_array("a.npy", write_array(np.array([0x110000], dtype=f"{order}u4").view(f"{order}U1")))
