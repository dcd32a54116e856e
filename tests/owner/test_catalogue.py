"""The owner's records of what it gave out."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from owner.catalogue import Catalogue, CatalogueEntry, CatalogueFile
from tests.system.town import small_model, stored
from twinveil.errors import BadInput, UnknownModel


def entry(version: str = "1", seed: int = 0) -> CatalogueEntry:
    made = stored(small_model(seed))
    return CatalogueEntry(
        "digits", version, made.model.plan, made.card, ("packed",), False, "ab" * 32, bytes(range(16))
    )


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    catalogue = CatalogueFile(tmp_path)
    with catalogue.adding(entry()):
        pass
    assert catalogue.find("digits") == entry()
    assert CatalogueFile(tmp_path).all() == [entry()]


def test_the_newest_version_by_number(tmp_path: Path) -> None:
    catalogue = CatalogueFile(tmp_path)
    for version in ("1.9", "1.10", "1"):
        with catalogue.adding(entry(version)):
            pass
    assert [each.version for each in catalogue.all()] == ["1", "1.9", "1.10"]
    assert catalogue.find("digits").version == "1.10"
    assert catalogue.find("digits", "1.9").version == "1.9"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    catalogue = CatalogueFile(tmp_path)
    with pytest.raises(UnknownModel, match=r"no model digits \(models: none\)"):
        catalogue.find("digits")
    with catalogue.adding(entry()):
        pass
    with pytest.raises(UnknownModel, match=r"no model digits 2 \(models: digits 1\)"):
        catalogue.find("digits", "2")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": 1}', "null"])
def test_a_damaged_record_is_no_model(tmp_path: Path, text: str) -> None:
    catalogue = CatalogueFile(tmp_path)
    with catalogue.adding(entry()):
        pass
    (tmp_path / "released" / "broken@1.json").write_text(text)
    assert [each.name for each in catalogue.all()] == ["digits"]
    with pytest.raises(BadInput):
        CatalogueEntry.from_json(text)


@pytest.mark.parametrize("name", ["digits@1.bak.json", "digits@1 (copy).json", "digits@2.json", "x.json"])
def test_a_copy_of_a_record_is_no_model(tmp_path: Path, name: str) -> None:
    """Users would be told of it after the model is removed."""
    catalogue = CatalogueFile(tmp_path)
    with catalogue.adding(entry()):
        pass
    file = tmp_path / "released" / "digits@1.json"
    file.with_name(name).write_bytes(file.read_bytes())
    assert catalogue.all() == [entry()]
    catalogue.remove("digits", "1")
    assert catalogue.all() == []


def test_removal(tmp_path: Path) -> None:
    catalogue = CatalogueFile(tmp_path)
    with catalogue.adding(entry()):
        pass
    assert catalogue.remove("digits", "1")
    assert not catalogue.remove("digits", "1")
    assert catalogue.all() == []


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput), CatalogueFile(tmp_path).adding(replace(entry(), name=name)):
        pass


def test_users_are_not_told_of_what_failed(tmp_path: Path) -> None:
    catalogue = CatalogueFile(tmp_path)
    with pytest.raises(ZeroDivisionError), catalogue.adding(entry()):
        assert catalogue.all() == []
        raise ZeroDivisionError
    assert list((tmp_path / "released").iterdir()) == []


def test_a_record_that_cannot_be_kept_is_known_before_the_model_goes_out(tmp_path: Path) -> None:
    """A limit on files stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sent = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with (
            pytest.raises(OSError, match=r"File too large: '.*digits@1.json'"),
            CatalogueFile(tmp_path).adding(entry()),
        ):
            sent.append("model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sent == []


def test_users_are_told_the_key_that_the_owner_pinned_and_the_import(tmp_path: Path) -> None:
    catalogue = CatalogueFile(tmp_path)
    with catalogue.adding(entry()):
        pass
    told = Catalogue(catalogue).get_model("digits", "")
    assert told.key_fingerprint.hex() == "ab" * 32
    assert told.import_id == bytes(range(16))


def test_a_record_of_an_earlier_version_says_what_to_type(tmp_path: Path) -> None:
    """It names no import; name, engines and policy stay."""
    catalogue = CatalogueFile(tmp_path)
    with catalogue.adding(entry()):
        pass
    file = tmp_path / "released" / "digits@1.json"
    file.write_text(
        json.dumps({key: v for key, v in json.loads(file.read_text()).items() if key != "import_id"})
    )
    assert catalogue.find("digits") == replace(entry(), import_id=b"")
    service = Catalogue(catalogue)
    with pytest.raises(UnknownModel, match=r": outsource it again by twinveil outsource digits@1 --again$"):
        service.get_model("digits", "")
    [listed] = service.list_models()
    assert (listed.model, listed.version, listed.plan_hash) == ("digits", "1", b"")
    assert listed.trouble.startswith("model digits 1 was outsourced by an earlier version")
