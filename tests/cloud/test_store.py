"""Models on a cloud's disk: read back as they were, or refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.networks import random_model
from twinveil.cloud.store import Arrays, Forms, ModelStore, Record
from twinveil.errors import AlreadyUsed, BadInput, HostFault, ModelExists, NotAllowed, UnknownModel
from twinveil.halves.blinding import Segment
from twinveil.params import Params
from twinveil.protocol.model import layout as model_layout
from twinveil.protocol.model.layout import Layouts
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.model import layout as packed_layout

LAYOUTS = Layouts(random_model(1).plan, Params(), ("packed", "textbook"))
RECORD = Record("digits", "1", bytes(16), LAYOUTS, True, "ab" * 32, "alice")
ARRAYS = {"share/dense": np.arange(5, dtype=np.uint32)}
FORMS: Forms = {name: (array.dtype.type, array.shape) for name, array in ARRAYS.items()}


@pytest.fixture(autouse=True)
def fresh_digests() -> Iterator[None]:
    yield
    model_layout._digest.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path)
    with store.stage(RECORD, ARRAYS) as staged:
        staged.commit()
    return store


@pytest.fixture
def record_file(store: ModelStore, tmp_path: Path) -> Path:
    return tmp_path / "digits@1" / "record.json"


def test_a_model_is_read_back(store: ModelStore, tmp_path: Path) -> None:
    again = ModelStore(tmp_path)
    assert again.find("digits", "1") == RECORD
    assert again.records() == [RECORD]
    assert again.arrays(RECORD, FORMS)["share/dense"].tolist() == [0, 1, 2, 3, 4]
    assert [each.trouble for each in again.entries()] == [""]
    with pytest.raises(ModelExists):
        store.refuse_existing("digits", "1")


def test_a_model_of_a_name_that_is_not_given_any_more_stands(store: ModelStore, tmp_path: Path) -> None:
    """Earlier versions of a cloud took capitals, and versions that are no numbers."""
    earlier = replace(RECORD, model="Digits", version="abc", import_id=b"2" * 16)
    with store.stage(earlier, ARRAYS) as staged:
        staged.commit()
    again = ModelStore(tmp_path)
    assert again.records() == [earlier, RECORD]
    assert [each.trouble for each in again.entries()] == ["", ""]
    assert again.remove("Digits", "abc", "alice") == earlier


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (packed_layout, "LAYOUT", b"twinveil packed layout 1"),
        (ItemLayout, "margin", 72),
        (Segment, "plaintext_mask_bits", lambda segment, sigma: segment.packed_bits + sigma),
    ],
)
def test_a_model_laid_out_in_another_way_is_refused(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, place: object, name: str, value: object
) -> None:
    monkeypatch.setattr(place, name, value)
    model_layout._digest.cache_clear()
    for refused in (lambda: store.find("digits", "1"), lambda: store.arrays(RECORD, FORMS)):
        with pytest.raises(
            BadInput, match=r"another version of Twinveil .* outsource it again by twinveil outsource "
        ):
            refused()
    assert not store.records()
    [entry] = store.entries()
    assert (entry.model, entry.version) == ("digits", "1")
    assert "another version" in entry.trouble
    store.remove("digits", "1", "alice")
    assert not store.entries()
    with store.stage(RECORD, ARRAYS) as staged:
        staged.commit()
    assert store.find("digits", "1") == RECORD


@pytest.mark.parametrize(
    "other",
    [
        replace(LAYOUTS, params=Params(2048)),
        replace(LAYOUTS, params=Params(sigma=48)),
        replace(LAYOUTS, engines=("packed",)),
        replace(LAYOUTS, engines=("textbook",)),
        replace(LAYOUTS, plan=random_model(2).plan),
    ],
)
def test_layouts_that_differ_have_digests_that_differ(other: Layouts) -> None:
    assert other.digest != LAYOUTS.digest


@pytest.mark.parametrize(
    "change", [{"layout_sha256": "00" * 32}, {"key_bits": 2048}, {"key_bits": "2048"}, {"owner": 7}]
)
def test_a_changed_record_is_refused(store: ModelStore, record_file: Path, change: dict[str, object]) -> None:
    record_file.write_text(json.dumps(json.loads(record_file.read_text()) | change))
    with pytest.raises(BadInput, match="cannot be used"):
        store.find("digits", "1")


def test_another_sigma_is_another_layout(store: ModelStore) -> None:
    """A query runs with this version's sigma, whatever the model was imported with."""
    other = replace(RECORD, version="2", layouts=replace(LAYOUTS, params=Params(sigma=48)))
    with store.stage(other, ARRAYS) as staged:
        staged.commit()
    with pytest.raises(BadInput, match="another version of Twinveil"):
        store.find("digits", "2")


@pytest.mark.parametrize("change", [{}, {"layout_sha256": "00" * 32}, {"engines": 7}])
def test_nobody_removes_anothers_model_of_whatever_version(
    store: ModelStore, record_file: Path, change: dict[str, object]
) -> None:
    record_file.write_text(json.dumps(json.loads(record_file.read_text()) | change))
    with pytest.raises(NotAllowed, match="belongs to owner/alice"):
        store.remove("digits", "1", "mallory")
    store.remove("digits", "1", "alice")
    assert not store.entries()


def test_a_record_that_cannot_be_opened_now_is_nobodys_to_remove(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", busy)
        for owner in ("alice", "mallory"):
            with pytest.raises(HostFault, match=r"cannot be read now: Too many open files$"):
                store.remove("digits", "1", owner)
        [entry] = store.entries()
        assert "Too many open files" in entry.trouble
        with pytest.raises(HostFault, match=r"cannot be read now: Too many open files$"):
            store.arrays(RECORD, FORMS)
    assert store.records() == [RECORD]


@pytest.mark.parametrize("name", ["record.json", "arrays.safetensors"])
def test_a_missing_or_damaged_file_is_said_and_can_be_removed(
    store: ModelStore, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "digits@1" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadInput, match="outsource it again by twinveil outsource "):
        store.arrays(RECORD, FORMS)
    file.unlink()
    with pytest.raises(BadInput, match="outsource it again by twinveil outsource "):
        store.arrays(RECORD, FORMS)
    store.remove("digits", "1", "alice")
    with pytest.raises(UnknownModel):
        store.remove("digits", "1", "alice")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"kernel": ARRAYS["share/dense"]},
        {**ARRAYS, "share/conv": ARRAYS["share/dense"]},
        {"share/dense": ARRAYS["share/dense"][:4]},
        {"share/dense": ARRAYS["share/dense"].reshape(5, 1)},
        {"share/dense": ARRAYS["share/dense"].astype(np.float64)},
    ],
    ids=["none", "renamed", "one more", "shorter", "of another shape", "of another type"],
)
def test_numbers_of_another_form_are_damaged(tmp_path: Path, arrays: Arrays) -> None:
    """Whole, with the digest that the record names, and still not this model's."""
    store = ModelStore(tmp_path)
    with store.stage(RECORD, arrays) as staged:
        staged.commit()
    with pytest.raises(BadInput, match="its numbers are damaged: outsource it again by twinveil outsource "):
        store.arrays(RECORD, FORMS)


@pytest.mark.parametrize("name", [b"digits@1.bak", b"digits@1 (copy)", b"@", b"digits@", b"\xff@1", b"a\n@1"])
def test_a_folder_without_a_models_name_is_passed_over(
    store: ModelStore, record_file: Path, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    odd = record_file.parent.with_name(os.fsdecode(name))
    shutil.copytree(record_file.parent, odd)
    for _ in range(2):
        assert [each.SerializeToString() for each in store.entries()] == [RECORD.entry().SerializeToString()]
    assert store.records() == [RECORD]
    assert [each.getMessage() for each in caplog.records] == [
        f"passed over, since it has no model's name: {str(odd)!r}"
    ]


def test_a_file_beside_the_models_is_none(store: ModelStore, record_file: Path) -> None:
    record_file.parent.with_name("digits@2").touch()
    assert len(store.entries()) == 1


OTHER = replace(RECORD, model="other", import_id=b"o" * 16)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is parsed as a record from now on; files count as settled at once."""
    seen: list[bytes] = []
    honest = Record.from_json

    def from_json(data: bytes) -> tuple[Record, str]:
        seen.append(data)
        return honest(data)

    monkeypatch.setattr(Record, "from_json", from_json)
    monkeypatch.setattr("twinveil.cloud.store.SETTLED_NS", 0)
    return seen


def test_a_record_is_parsed_once_while_its_file_is_the_same(
    store: ModelStore, record_file: Path, parsed: list[bytes]
) -> None:
    other = record_file.parent.with_name("other@1")
    other.mkdir()
    (other / "record.json").write_text("{}")
    for _ in range(3):
        assert store.records() == [RECORD]
        assert store.find("digits", "1") == RECORD
        assert store.of_import(RECORD.import_id) == RECORD
        assert [bool(entry.trouble) for entry in store.entries()] == [False, True]
    assert len(parsed) == 2


def test_a_file_that_changed_just_now_is_read_again(
    store: ModelStore, parsed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinveil.cloud.store.SETTLED_NS", 3600 * 10**9)
    for _ in range(3):
        store.records()
    assert len(parsed) == 3


def test_a_record_that_changed_is_read_again_whatever_its_time_says(
    store: ModelStore, record_file: Path, parsed: list[bytes]
) -> None:
    assert store.find("digits", "1").owner == "alice"
    before = record_file.stat()
    record_file.write_text(record_file.read_text().replace("alice", "cecil"))
    os.utime(record_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert record_file.stat().st_size == before.st_size
    assert store.find("digits", "1").owner == "cecil"
    assert [record.owner for record in store.records()] == ["cecil"]
    assert len(parsed) == 2


def test_a_model_in_anothers_place_is_another(store: ModelStore, parsed: list[bytes]) -> None:
    assert store.of_import(RECORD.import_id) == RECORD
    store.remove("digits", "1", "alice")
    assert store.of_import(RECORD.import_id) is None
    assert not store.records()
    later = replace(RECORD, import_id=b"l" * 16)
    with store.stage(later, ARRAYS) as staged:
        staged.commit()
    assert store.of_import(RECORD.import_id) is None
    assert store.of_import(later.import_id) == later
    assert store.find("digits", "1") == later
    with pytest.raises(AlreadyUsed):
        store.refuse_known(later.import_id)


def test_a_model_taken_away_or_brought_by_hand_is_seen(
    store: ModelStore, record_file: Path, tmp_path: Path, parsed: list[bytes]
) -> None:
    folder, kept = record_file.parent, tmp_path / "kept"
    assert store.of_import(RECORD.import_id) == RECORD
    folder.rename(kept)
    assert store.of_import(RECORD.import_id) is None
    with pytest.raises(UnknownModel):
        store.find("digits", "1")
    assert not store.entries()
    with store.stage(replace(RECORD, import_id=b"l" * 16), ARRAYS) as staged:
        staged.commit()
    assert store.of_import(RECORD.import_id) is None
    store.remove("digits", "1", "alice")
    kept.rename(folder)
    assert store.of_import(RECORD.import_id) == RECORD
    assert ModelStore(tmp_path).of_import(RECORD.import_id) == RECORD


def test_a_model_is_found_by_its_import_alone(
    store: ModelStore, parsed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every conversation asks: not one look at every model's file."""
    with store.stage(OTHER, ARRAYS) as staged:
        staged.commit()
    store.records()
    monkeypatch.setattr(store, "records", list)
    assert store.of_import(RECORD.import_id) == RECORD
    assert store.of_import(OTHER.import_id) == OTHER
    assert store.of_import(b"n" * 16) is None


LATER = replace(RECORD, import_id=b"l" * 16)
OTHER_ARRAYS = {"share/dense": np.arange(5, 10, dtype=np.uint32)}


def replace_model(store: ModelStore) -> None:
    store.remove("digits", "1", "alice")
    with store.stage(LATER, OTHER_ARRAYS) as staged:
        staged.commit()


def test_the_numbers_of_a_model_that_was_replaced_are_nobodys(store: ModelStore) -> None:
    found = store.find("digits", "1")
    replace_model(store)
    with pytest.raises(UnknownModel, match="model digits 1 was replaced meanwhile: ask again"):
        store.arrays(found, FORMS)
    later = store.find("digits", "1")
    assert store.arrays(later, FORMS)["share/dense"].tolist() == [5, 6, 7, 8, 9]
    store.remove("digits", "1", "alice")
    with pytest.raises(UnknownModel, match="no model digits 1 here"):
        store.arrays(later, FORMS)


@pytest.mark.parametrize("becomes", [replace_model, lambda store: store.remove("digits", "1", "alice")])
def test_a_model_that_is_replaced_while_it_is_read_is_not_damaged(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, becomes: Callable[[ModelStore], None]
) -> None:
    honest = Path.read_bytes

    def meanwhile(path: Path) -> bytes:
        if path.name == "arrays.safetensors":
            monkeypatch.setattr(Path, "read_bytes", honest)
            becomes(store)
        return honest(path)

    monkeypatch.setattr(Path, "read_bytes", meanwhile)
    with pytest.raises(UnknownModel):
        store.arrays(RECORD, FORMS)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("write", [1, 2])
def test_what_does_not_fit_leaves_nothing(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    writes = iter(range(1, 3))

    def sync(_: int) -> None:
        if next(writes) == write:
            raise FULL

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OSError, match="No space left"):
        store.stage(OTHER, ARRAYS)
    assert [path.name for path in tmp_path.iterdir()] == ["digits@1"]


def test_a_model_is_removed_where_there_is_no_room_for_another_name(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(*_: Path) -> None:
        raise FULL

    monkeypatch.setattr(Path, "rename", rename)
    assert store.remove("digits", "1", "alice") == RECORD
    assert list(tmp_path.iterdir()) == []
    assert store.of_import(RECORD.import_id) is None
